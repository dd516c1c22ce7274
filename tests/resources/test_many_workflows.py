"""Two workflows, one of them in two regions, with names that they share by chance, and a person who interferes.

After every step, in any order: nothing of another workflow, region, account or person has changed without --adopt, and
what others use is still there. "0 changes" is said only where a device could install everything.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from cli.forking import Forking
from resources.cloud_facts import facts

STEPS = int(os.environ.get("EMFLOW_STEPS", "48"))
"""Steps in all, 12 in each run of the machine, beside the first apply of each workflow."""

REGIONS = ("us-east-1", "eu-west-1")
ACTORS = {"a": ("first", REGIONS[0]), "b": ("second", REGIONS[0]), "a-eu": ("first", REGIONS[1])}
"""Who applies: the name of a workflow, and its region."""

PERSON, ELSEWHERE = "person", "another account"
COORDINATES = ("role", "alias", "fleet", "results", "components", "application", "model", "thing", "prefix", "version")
ADOPTABLE = (
    "bucket/components",
    "bucket/inference_results",
    "access/role",
    "access/role_alias",
    "fleet/fleet",
    "model/package",
    "application/component",
    "deployment/target",
)
TEXT = """
apiVersion: emflow/v1
kind: Workflow
metadata: {{name: {name}}}
aws: {{region: {region}}}
cloud:
  buckets:
    inference_results: {{name: {results}}}
    components: {{name: {components}}}
  role: {{name: {role}, alias: {alias}}}
  fleet: {{name: {fleet}, devices: [{thing}]}}
  model: {{name: scenes-224, artifact: {model_file}, inputs: {{input: [1, 224, 224, 3]}}}}
  compile: {{job: "compile-{name}"}}
  package: {{job: "package-{name}", component: {{name: {model}, version: {version}}}}}
  deployment: {{target: {{thing: {thing}}}}}
edge:
  component: {{name: {application}}}
  capture: {{prefix: {prefix}}}
  streams: [{{name: front, url: "rtspt://192.168.1.20/stream1"}}]
"""


class ManyWorkflows(RuleBasedStateMachine):
    """The embedded AWS, and what this test knows of whose everything in it is."""

    def __init__(self, aws: Any, forking: Forking, folder: Path, model: Path) -> None:
        super().__init__()
        self.aws, self.forking, self.model = aws, forking, model
        self.number = secrets.token_hex(3)
        self.folder = folder / self.number
        self.folder.mkdir()
        self.session: Any = boto3.Session(aws.credentials.id, aws.credentials.secret)
        self.clients: dict[tuple[str, str], Any] = {}
        self.chosen = {actor: dict.fromkeys(COORDINATES, 0) for actor in ACTORS}
        self.owners: dict[str, set[str]] = defaultdict(set)
        self.uses: dict[str, set[str]] = {actor: set() for actor in ACTORS}
        self.plans: dict[str, Path] = {}
        buckets = [
            f"emf-{n}-{r}-{kind}-{i}" for n in [self.number] for r in REGIONS for kind in KINDS.values() for i in (0, 1)
        ]
        self.pools = {
            "bucket": buckets,
            **{kind: self._pool(kind) for kind in ("role", "alias", "fleet")},
            "component": [*self._pool("application"), *self._pool("model"), f"by-hand-{self.number}"],
            "runs": self._pool("thing"),
        }
        for region in REGIONS:
            for thing in self.pools["runs"]:
                self.client("iot", region).create_thing(thingName=thing)
        self.before = self.look()

    def _pool(self, kind: str) -> list[str]:
        return [f"{kind}-{self.number}-{number}" for number in (0, 1)]

    def client(self, service: str, region: str) -> Any:
        key = service, region
        if key not in self.clients:
            self.clients[key] = self.session.client(service, region_name=region, endpoint_url=self.aws.endpoint_url)
        return self.clients[key]

    def look(self) -> dict[str, str]:
        return facts(self.client, self.pools, REGIONS)

    def names(self, actor: str) -> dict[str, str]:
        """The names in an actor's workflow file."""
        name, region = ACTORS[actor]
        chosen = self.chosen[actor]
        pooled = {kind: f"{kind}-{self.number}-{chosen[kind]}" for kind in ("role", "alias", "fleet", "thing")}
        pooled |= {kind: f"{kind}-{self.number}-{chosen[kind]}" for kind in ("application", "model")}
        buckets = {kind: f"emf-{self.number}-{region}-{KINDS[kind]}-{chosen[kind]}" for kind in BUCKETS}
        more = {"prefix": ("sme-capture", "other")[chosen["prefix"]], "version": ("1.0.0", "2.0.0")[chosen["version"]]}
        return {**pooled, **buckets, **more, "name": f"{name}-{self.number}", "region": region}

    def file(self, actor: str) -> Path:
        path = self.folder / f"{actor}.yaml"
        path.write_text(TEXT.format(**self.names(actor), model_file=self.model))
        return path

    def emflow(self, *args: object) -> tuple[int, str]:
        code, out, err = self.forking.run([str(each) for each in args], self.folder, timeout=120)
        assert "Traceback" not in out + err, out + err
        assert "mistake in emflow" not in out + err, out + err
        return code, out + err

    def check(self, actor: str, said: str, *, adopt: bool = False) -> None:
        """Compare with what was there before a step of an actor; what is new is the actor's from now on."""
        now, before = self.look(), self.before
        others = {path for other, paths in self.uses.items() if other != actor for path in paths}
        for path in before.keys() - now.keys():
            assert self.owners[path] <= {actor}, f"{actor} removed {path} of {self.owners[path]}\n{said}"
            assert path not in others, f"{actor} removed {path}, which others use\n{said}"
            del self.owners[path]
        for path in now.keys() & before.keys():
            if now[path] != before[path]:
                allowed = adopt and not path.startswith("component/")
                mine = self.owners[path] <= {actor}
                text = f"{before[path]}\n{now[path]}\n{said}"
                assert mine or allowed, f"{actor} changed {path} of {self.owners[path]}: {text}"
        for path in now.keys() - before.keys():
            self.owners[path] = {actor}
        self.before = now

    def by_person(self) -> None:
        """What a person does needs no permission; what comes of it is the person's."""
        now = self.look()
        for path in self.before.keys() - now.keys():
            self.owners.pop(path, None)
            for used in self.uses.values():
                used.discard(path)
        for path in now.keys() - self.before.keys():
            self.owners[path] = {PERSON}
        self.before = now

    def used_by(self, actor: str) -> set[str]:
        """What a workflow that is applied needs to be there."""
        names = self.names(actor)
        region = names["region"]
        paths = {f"role/{names['role']}", *(f"{kind}/{region}/{names[kind]}" for kind in ("alias", "fleet"))}
        paths |= {f"bucket/{names[kind]}" for kind in BUCKETS}
        runs = self.running(actor)
        for component, spec in runs.items():
            paths.add(f"runs/{region}/{names['thing']}/{component}")
            if not component.startswith("aws."):
                paths.add(f"component/{region}/{component}/{spec['componentVersion']}")
        return paths & self.before.keys()

    def running(self, actor: str) -> dict[str, Any]:
        """The components of the workflow that its target is to run."""
        names = self.names(actor)
        here = f"runs/{names['region']}/{names['thing']}/"
        found = {
            path.removeprefix(here): json.loads(self.before[path]) for path in self.before if path.startswith(here)
        }
        own = {names["application"], names["model"]}
        return {
            name: spec for name, spec in found.items() if name in own or name.startswith("aws.greengrass.SageMaker")
        }

    def applied(self, actor: str) -> None:
        """The workflow is as its file says: what it needs is used, and can be installed."""
        names = self.names(actor)
        self.uses[actor] = self.used_by(actor)
        for paths in self.owners.values():
            if len(paths) > 1:
                paths.discard(actor)
        for path in self.uses[actor]:
            if path.startswith("runs/"):
                self.owners[path].add(actor)
        running = self.running(actor)
        assert {names["application"], names["model"]} <= running.keys(), f"{actor} is applied and runs {running.keys()}"
        for component in (names["application"], names["model"]):
            self.can_install(names["region"], component, running[component]["componentVersion"])

    def can_install(self, region: str, component: str, version: str) -> None:
        arn = f"arn:aws:greengrass:{region}:123456789012:components:{component}:versions:{version}"
        recipe = json.loads(
            self.client("greengrassv2", region).get_component(arn=arn, recipeOutputFormat="JSON")["recipe"]
        )
        for manifest in recipe["Manifests"]:
            for artifact in manifest.get("Artifacts", ()):
                uri = artifact.get("Uri") or artifact["URI"]
                bucket, _, key = uri.removeprefix("s3://").partition("/")
                self.client("s3", region).head_object(Bucket=bucket, Key=key)

    @initialize(order=st.permutations(list(ACTORS)), data=st.data())
    def all_apply_with_some_shared_names(self, order: list[str], data: Any) -> None:
        for actor in order:
            for coordinate in ("role", "alias", "fleet", "results", "components", "thing"):
                self.chosen[actor][coordinate] = data.draw(st.sampled_from([0, 0, 1]), f"{actor}.{coordinate}")
            own = int(actor == "b")  # most names of components are not shared, or nothing could be applied
            self.chosen[actor].update(application=own, model=own)
            self.apply(actor)

    @rule(actor=st.sampled_from(list(ACTORS)), coordinate=st.sampled_from(COORDINATES))
    def choose_another_name(self, actor: str, coordinate: str) -> None:
        self.chosen[actor][coordinate] = 1 - self.chosen[actor][coordinate]

    @rule(actor=st.sampled_from(list(ACTORS)))
    def apply_again(self, actor: str) -> None:
        self.apply(actor)

    def apply(self, actor: str) -> None:
        code, said = self.emflow("apply", self.file(actor), "--yes")
        self.check(actor, said)
        if code == 0:
            self.applied(actor)

    @rule(actor=st.sampled_from(list(ACTORS)), ids=st.sets(st.sampled_from(ADOPTABLE), min_size=1))
    def apply_with_permission(self, actor: str, ids: set[str]) -> None:
        given = [word for each in sorted(ids) for word in ("--adopt", each)]
        code, said = self.emflow("apply", self.file(actor), "--yes", *given)
        self.check(actor, said, adopt=True)
        if code == 0:
            self.applied(actor)

    @rule(actor=st.sampled_from(list(ACTORS)))
    def save_a_plan(self, actor: str) -> None:
        path = self.folder / f"{actor}.plan.json"
        code, said = self.emflow("plan", self.file(actor), "--out", path)
        assert self.look() == self.before, f"a plan of {actor} changed something\n{said}"
        if code == 0:
            self.plans[actor] = path

    @precondition(lambda self: self.plans)
    @rule(data=st.data())
    def apply_a_saved_plan(self, data: Any) -> None:
        actor = data.draw(st.sampled_from(sorted(self.plans)))
        code, said = self.emflow("apply", self.plans.pop(actor), "--yes")
        self.check(actor, said)
        if code == 0:
            self.applied(actor)

    @rule(actor=st.sampled_from(list(ACTORS)), data=st.booleans())
    def destroy(self, actor: str, data: bool) -> None:
        # What it no longer needs: it is the last command that its owner gives.
        self.uses[actor] = set()
        code, said = self.emflow("destroy", self.file(actor), "--yes", *(["--delete-data"] if data else []))
        for path, owners in self.owners.items():
            if path.startswith("runs/") and len(owners) > 1 and code == 0:
                owners.discard(actor)
        self.check(actor, said)

    @rule(actor=st.sampled_from(list(ACTORS)))
    def a_device_captures(self, actor: str) -> None:
        names = self.names(actor)
        key = f"{names['prefix']}/{names['fleet']}/scenes-224/2026/01/01/00/{secrets.token_hex(4)}.jsonl"
        self._put(names["results"], key, actor)

    @rule(kind=st.sampled_from(["results", "components"]), actor=st.sampled_from(list(ACTORS)))
    def a_person_stores_a_file(self, kind: str, actor: str) -> None:
        self._put(self.names(actor)[kind], "notes.txt", PERSON)

    def _put(self, bucket: str, key: str, owner: str) -> None:
        try:
            self.client("s3", REGIONS[0]).put_object(Bucket=bucket, Key=key, Body=secrets.token_bytes(8))
        except ClientError:
            return  # there is no such bucket
        self.by_person()
        self.owners[f"bucket/{bucket}/{key}"] = {owner}

    @rule(actor=st.sampled_from(list(ACTORS)), times=st.sampled_from([1, 22]))
    def a_person_revises_a_deployment(self, actor: str, times: int) -> None:
        names = self.names(actor)
        greengrass = self.client("greengrassv2", names["region"])
        here = f"runs/{names['region']}/{names['thing']}/"
        there = {
            path.removeprefix(here): json.loads(self.before[path]) for path in self.before if path.startswith(here)
        }
        for _ in range(times):
            greengrass.create_deployment(
                targetArn=f"arn:aws:iot:{names['region']}:123456789012:thing/{names['thing']}",
                components={**there, "aws.greengrass.Cli": {"componentVersion": "2.12.6"}},
            )
        self.by_person()

    @rule(actor=st.sampled_from(list(ACTORS)))
    def a_person_puts_a_policy_on_a_role(self, actor: str) -> None:
        role = self.names(actor)["role"]
        document = {"Version": "2012-10-17", "Statement": []}
        try:
            self.client("iam", REGIONS[0]).put_role_policy(
                RoleName=role, PolicyName="by-hand", PolicyDocument=json.dumps(document)
            )
        except ClientError:
            return  # there is no such role
        self.by_person()

    @rule(actor=st.sampled_from(list(ACTORS)))
    def a_person_deletes_a_packaged_model(self, actor: str) -> None:
        bucket = self.names(actor)["components"]
        keys = [path for path in self.before if path.startswith(f"bucket/{bucket}/models/packaged/")]
        if keys:
            key = min(keys).removeprefix(f"bucket/{bucket}/")
            self.client("s3", REGIONS[0]).delete_object(Bucket=bucket, Key=key)
            self.by_person()

    @rule(
        name=st.sampled_from(["results", "components"]), number=st.integers(0, 1), workflow=st.sampled_from(["a", "b"])
    )
    def another_account_takes_a_name(self, name: str, number: int, workflow: str) -> None:
        from moto.s3.models import s3_backends

        bucket = f"emf-{self.number}-{REGIONS[0]}-{KINDS[name]}-{number}"
        if bucket in s3_backends.bucket_accounts:
            return
        backend = s3_backends["210987654321"]["aws"]
        backend.create_bucket(bucket, REGIONS[0])
        resource = "bucket/inference_results" if name == "results" else "bucket/components"
        owner = f"{ACTORS[workflow][0]}-{self.number}"
        backend.put_bucket_tagging(bucket, {"emflow:workflow": owner, "emflow:resource": resource})
        self.by_person()
        self.owners[f"bucket/{bucket}"] = {ELSEWHERE}


BUCKETS = ("results", "components")
KINDS = {"results": "sagemaker-results", "components": "components"}


@pytest.mark.timeout(3600)
def test_no_step_of_a_workflow_touches_what_is_not_its_own(embedded, endpoint, tmp_path, scenes_model):
    forking = Forking()
    each = 12
    how = settings(
        max_examples=max(1, STEPS // each),
        stateful_step_count=each,
        deadline=None,
        phases=[Phase.generate],  # to shorten what failed would take longer than to read it
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    machine: Any = partial(ManyWorkflows, embedded, forking, tmp_path, scenes_model)
    try:
        run_state_machine_as_test(machine, settings=how)
    finally:
        forking.close()
