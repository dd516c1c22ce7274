"""What others begin to use between the plan of `destroy` and the removal stays, with what it needs; the rest goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from emflow.engine.destroy import plan_removal, remove
from emflow.engine.events import Failed, Skipped
from emflow.engine.resource import Inputs
from emflow.problems import Problem
from emflow.resources import removable_resources
from resources.conftest import another, within
from resources.test_destroy import gone

POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}


def put_object(client: Callable[[str], Any], workflow: Any) -> None:
    client("s3").put_object(Bucket=workflow.cloud.buckets.components.name, Key="notes.txt", Body=b"mine")


def register_device(client: Callable[[str], Any], workflow: Any) -> None:
    name = f"late-{workflow.metadata.name}"
    client("iot").create_thing(thingName=name)
    device = {"DeviceName": name, "IotThingName": name}
    client("sagemaker").register_devices(DeviceFleetName=workflow.cloud.fleet.name, Devices=[device])


def put_policy(client: Callable[[str], Any], workflow: Any) -> None:
    client("iam").put_role_policy(
        RoleName=workflow.cloud.role.name, PolicyName="late", PolicyDocument=json.dumps(POLICY)
    )


def deploy(client: Callable[[str], Any], workflow: Any, component: str) -> None:
    thing = f"late-{workflow.metadata.name}"
    client("iot").create_thing(thingName=thing)
    client("greengrassv2").create_deployment(
        targetArn=f"arn:aws:iot:us-east-1:123456789012:thing/{thing}",
        components={component: {"componentVersion": "1.0.0"}},
    )


CASES: dict[str, tuple[Callable[..., None], str]] = {
    "bucket/components": (put_object, "nothing says who stored object notes.txt"),
    "fleet/fleet": (register_device, "others registered devices in it: late-"),
    "access/role": (put_policy, "others use the role: it has their policies late"),
    "access/role_alias": (put_policy, "others use the role: it has their policies late"),
    "application/component": (
        lambda client, workflow: deploy(client, workflow, workflow.edge.component.name),
        "has it, and not by this workflow",
    ),
    "model/package": (
        lambda client, workflow: deploy(client, workflow, workflow.cloud.package.component.name),
        "has it, and not by this workflow",
    ),
}


class Run:
    """A run that waits for nothing."""

    def waiting(self, state: str, reason: str = "") -> None: ...

    def pause(self, seconds: float) -> None: ...


@pytest.mark.parametrize("resource", list(CASES))
def test_what_others_use_since_the_plan_stays_and_says_why(rollout, workflow, client, resource):
    interfere, said = CASES[resource]
    rollout.apply(workflow)
    clients = rollout.own(workflow)
    removal = plan_removal(removable_resources(workflow), clients, delete_data=True)
    assert resource in [each.id for each in removal.to_remove]
    interfere(client, workflow)
    events: list[Any] = []
    with pytest.raises(Problem) as stopped:
        remove(removal, clients, events.append)
    assert said in str(stopped.value)
    assert "this has changed since the plan was made" in str(stopped.value)
    failed = [event.resource for event in events if isinstance(event, Failed)]
    # Of a role, its alias is removed first, and stays for the same reason.
    assert failed == ["access/role_alias" if resource == "access/role" else resource]
    skipped = {event.resource for event in events if isinstance(event, Skipped)}
    needed = {name for each in removal.to_remove if each.id in failed for name in each.needs}
    assert needed & {each.id for each in removal.to_remove} <= skipped | {*failed}
    # A second plan says the same before anything is removed.
    kept = {
        each.id: why for each, why in plan_removal(removable_resources(workflow), clients, delete_data=True).to_keep
    }
    assert said in kept[resource]


@pytest.mark.parametrize("resource", list(CASES))
def test_each_of_them_looks_again_itself(rollout, workflow, client, resource):
    interfere, said = CASES[resource]
    rollout.apply(workflow)
    clients = rollout.own(workflow)
    (removable,) = [each for each in removable_resources(workflow) if each.id == resource]
    interfere(client, workflow)
    before = removable.observe(clients)
    with pytest.raises(Problem, match="changed since the plan was made") as stopped:
        removable.delete(clients, Run())
    assert said in stopped.value.what
    assert removable.observe(clients) == before


def test_nothing_is_removed_of_a_bucket_that_is_used_since_the_plan(rollout, workflow, client):
    rollout.apply(workflow)
    bucket, clients = workflow.cloud.buckets.components.name, rollout.own(workflow)
    before = {each["Key"] for each in client("s3").list_objects_v2(Bucket=bucket)["Contents"]}
    removal = plan_removal(removable_resources(workflow), clients, delete_data=True)
    put_object(client, workflow)
    with pytest.raises(Problem):
        remove(removal, clients)
    assert {each["Key"] for each in client("s3").list_objects_v2(Bucket=bucket)["Contents"]} == before | {"notes.txt"}


def test_orphans_that_others_use_since_the_plan_stay_in_an_apply_too(rollout, workflow, client):
    rollout.apply(workflow)
    old = workflow.edge.component.name
    renamed = within(workflow, "edge.component", name=f"{old}-new")
    clients = rollout.own(workflow)
    plan = rollout.plan(renamed)
    assert "orphan/components" in [step.resource.id for step in plan.changes]
    deploy(client, workflow, old)
    orphans = next(step for step in plan.steps if step.resource.id == "orphan/components")

    with pytest.raises(Problem, match="changed since the plan"):
        orphans.resource.apply(clients, orphans.diff, Inputs(), Run())
    arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{old}"
    assert client("greengrassv2").list_component_versions(arn=arn)["componentVersions"]


def test_without_anybody_else_all_goes_as_planned(rollout, workflow, client):
    rollout.apply(workflow)
    other = another(workflow)
    clients = rollout.own(workflow)
    removal = plan_removal(removable_resources(workflow), clients, delete_data=True)
    remove(removal, clients)
    assert plan_removal(removable_resources(workflow), clients, delete_data=True).to_remove == ()
    assert gone(client("iam").get_role, RoleName=workflow.cloud.role.name)
    assert plan_removal(removable_resources(other), clients, delete_data=True).to_remove == ()
