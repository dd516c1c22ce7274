"""`0 changes` is said only where a device could install everything: every object that the bucket holds, one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from emflow.engine.plan import Plan
from emflow.problems import Problem
from emflow.workflow import load
from resources.test_own_components import RECIPE


def recipes(client: Any, deployment: str) -> list[dict[str, Any]]:
    greengrass = client("greengrassv2")
    components = greengrass.get_deployment(deploymentId=deployment)["components"]
    found = []
    for name, spec in components.items():
        if not name.startswith("aws."):
            arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{name}:versions:{spec['componentVersion']}"
            found.append(json.loads(greengrass.get_component(arn=arn, recipeOutputFormat="JSON")["recipe"]))
    return found


def objects(client: Any, deployment: str) -> set[tuple[str, str]]:
    """Bucket and key of every object that a device gets with a deployment."""
    found = set()
    for recipe in recipes(client, deployment):
        for manifest in recipe["Manifests"]:
            for artifact in manifest.get("Artifacts", ()):
                bucket, _, key = (artifact.get("Uri") or artifact["URI"]).removeprefix("s3://").partition("/")
                found.add((bucket, key))
    return found


@pytest.fixture
def with_own(file, workflow, client):
    """The workflow with a component of its own that has a zip, and refers to an object of a person besides."""
    person = f"person-{workflow.metadata.name}"
    client("s3").create_bucket(Bucket=person)
    client("s3").put_object(Bucket=person, Key="tools/run.bin", Body=b"tool")
    (file.parent / "files").mkdir()
    (file.parent / "files" / "run.sh").write_text("echo hello")
    more = f', {{Uri: "s3://{person}/tools/run.bin"}}]'
    (file.parent / "recipe.j2").write_text(RECIPE.replace("Unarchive: ZIP}]", f"Unarchive: ZIP}}{more}"))
    own = {"name": f"com.example.X-{workflow.metadata.name}", "recipe": "recipe.j2", "artifacts": "files"}
    file.write_text(file.read_text() + yaml.safe_dump({"components": [own]}))
    return load(file), person


def planned(rollout: Any, workflow: Any) -> Plan | Problem:
    try:
        return rollout.plan(workflow)
    except Problem as problem:
        return problem


def test_with_any_object_gone_a_plan_has_changes_or_everything_can_be_installed(rollout, with_own, client):
    workflow, person = with_own
    deployment = rollout.apply(workflow).outputs["deployment/target"]["id"]
    assert rollout.plan(workflow).changes == ()
    s3, needed = client("s3"), objects(client, deployment)
    assert {bucket for bucket, _ in needed} == {workflow.cloud.buckets.components.name, person}
    kinds = set()
    for bucket in {workflow.cloud.buckets.components.name, person}:
        for key in [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]]:
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            s3.delete_object(Bucket=bucket, Key=key)
            found = planned(rollout, workflow)
            unchanged = isinstance(found, Plan) and found.changes == ()
            assert not (unchanged and (bucket, key) in needed), f"0 changes without s3://{bucket}/{key}"
            if isinstance(found, Problem):
                assert f"s3://{bucket}/{key}: no device can install it" in found.what
            kinds.add(key.partition("/")[0] + "/" + key.split("/")[1])
            checksum: Any = {"ChecksumAlgorithm": "SHA256"} if "ChecksumSHA256" in head else {}
            s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata=head["Metadata"], **checksum)
            assert rollout.plan(workflow).changes == ()
    assert {"models/uncompiled", "models/compiled", "models/packaged", "tools/run.bin"} < kinds
    assert any(kind.startswith("artifacts/") for kind in kinds)


def test_an_archived_object_cannot_be_installed_until_it_is_restored(rollout, with_own, client):
    workflow, _ = with_own
    deployment = rollout.apply(workflow).outputs["deployment/target"]["id"]
    s3 = client("s3")
    for bucket, key in sorted(objects(client, deployment)):
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        s3.put_object(Bucket=bucket, Key=key, Body=body, StorageClass="GLACIER")
        found = planned(rollout, workflow)
        assert isinstance(found, Problem) or found.changes, f"0 changes with s3://{bucket}/{key} in an archive"
        s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256")
        assert rollout.plan(workflow).changes == () or "artifacts/" in key


def test_an_object_of_a_person_that_may_not_be_looked_at_is_not_known(rollout, with_own, monkeypatch):
    workflow, person = with_own
    rollout.apply(workflow)
    from emflow.resources.greengrass import component_version

    monkeypatch.setattr(component_version, "object_exists", lambda *_: None)
    plan = rollout.plan(workflow)
    assert plan.changes == ()
    assert f"whether s3://{person}/tools/run.bin exists is not known: S3 refuses the look" in plan.text()


def test_a_component_under_many_versions_of_others_is_still_the_workflows(rollout, workflow, client):
    rollout.apply(workflow)
    greengrass, name = client("greengrassv2"), workflow.edge.component.name
    for number in range(25):
        recipe = {
            "RecipeFormatVersion": "2020-01-25", "ComponentName": name, "ComponentVersion": f"9.0.{number}",
            "Manifests": [{"Lifecycle": {"run": "true"}}],
        }  # fmt: skip
        greengrass.create_component_version(inlineRecipe=json.dumps(recipe).encode())
    plan = rollout.plan(workflow)  # not refused as the name of others
    assert [step.resource.id for step in plan.changes if step.resource.id == "application/component"] == []
