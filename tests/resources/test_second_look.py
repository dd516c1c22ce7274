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


def renamed(workflow):
    """The workflow with other names for all that an apply removes as an orphan and that others can use."""
    tail = workflow.metadata.name
    now = within(workflow, "edge.component", name=f"{workflow.edge.component.name}-new")
    now = within(now, "cloud.fleet", name=f"second-fleet-{tail}")
    return within(now, "cloud.role", name=f"second-role-{tail}", alias=f"second-alias-{tail}")


ORPHANS: dict[str, tuple[Callable[..., None], str]] = {
    "orphan/components": CASES["application/component"],
    "orphan/fleets": CASES["fleet/fleet"],
    "orphan/role_aliases": CASES["access/role_alias"],
    "orphan/roles": CASES["access/role"],
    "orphan/buckets": CASES["bucket/components"],
}
CHANGING = ("Delete", "Deregister", "Detach", "Remove")


def removing_calls(rollout):
    return [call for call in rollout.calls if call.partition(":")[2].startswith(CHANGING)]


def test_every_kind_of_orphan_is_tried(workflow):
    kinds = {each.id for each in removable_resources(workflow) if each.id.startswith("orphan/")}
    # From an earlier target, only what nobody else deploys there is removed, whenever it is looked at.
    assert kinds == {*ORPHANS, "orphan/targets"}


@pytest.mark.parametrize("kind", [kind for kind in ORPHANS if kind != "orphan/buckets"])  # apply removes no data
def test_orphans_that_others_use_since_the_plan_stay_in_an_apply_too(rollout, workflow, client, kind):
    interfere, said = ORPHANS[kind]
    rollout.apply(workflow)
    clients = rollout.own(workflow)
    plan = rollout.plan(renamed(workflow))
    assert kind in [step.resource.id for step in plan.changes]
    interfere(client, workflow)
    orphans = next(step for step in plan.steps if step.resource.id == kind)
    rollout.calls.clear()

    with pytest.raises(Problem, match="changed since the plan") as stopped:
        orphans.resource.apply(clients, orphans.diff, Inputs(), Run())
    assert said in stopped.value.what
    assert removing_calls(rollout) == []


@pytest.mark.parametrize("kind", list(ORPHANS))
def test_orphans_that_others_use_since_the_plan_of_destroy_stay_and_say_why(rollout, workflow, client, kind):
    interfere, said = ORPHANS[kind]
    rollout.apply(workflow)
    clients = rollout.own(workflow)
    now = within(renamed(workflow), "cloud.buckets.components", name=f"second-components-{workflow.metadata.name}")
    removal = plan_removal(removable_resources(now), clients, delete_data=True)
    (orphans,) = [each for each in removal.to_remove if each.id == kind]
    interfere(client, workflow)
    rollout.calls.clear()
    with pytest.raises(Problem, match="changed since the plan") as stopped:
        orphans.delete(clients, Run())
    assert said in stopped.value.what
    assert removing_calls(rollout) == []


def test_of_a_fleet_that_others_used_before_the_plan_our_devices_still_leave(rollout, workflow, client):
    rollout.apply(workflow)
    clients, old = rollout.own(workflow), workflow.cloud.fleet.name
    register_device(client, workflow)
    now = renamed(workflow)
    step = next(step for step in rollout.plan(now).steps if step.resource.id == "orphan/fleets")
    assert [(change.field, change.old) for change in step.diff.changes] == [(f"devices of {old}", "1 devices")]
    step.resource.apply(clients, step.diff, Inputs(), Run())
    left = client("sagemaker").list_devices(DeviceFleetName=old)["DeviceSummaries"]
    assert [device["DeviceName"] for device in left] == [f"late-{workflow.metadata.name}"]


def test_without_anybody_else_all_goes_as_planned(rollout, workflow, client):
    rollout.apply(workflow)
    other = another(workflow)
    clients = rollout.own(workflow)
    removal = plan_removal(removable_resources(workflow), clients, delete_data=True)
    remove(removal, clients)
    assert plan_removal(removable_resources(workflow), clients, delete_data=True).to_remove == ()
    assert gone(client("iam").get_role, RoleName=workflow.cloud.role.name)
    assert plan_removal(removable_resources(other), clients, delete_data=True).to_remove == ()
