"""What a workflow no longer says: shown in the plan, removed by apply, and by destroy."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.stub import Stubber

from emflow.engine.destroy import plan_removal
from emflow.engine.plan import make_plan
from emflow.engine.resource import Action
from emflow.resources import desired_resources, removable_resources
from emflow.workflow import load
from emflow.workflow.model import Target
from resources.conftest import another, within
from resources.faults import Faults, Killed
from resources.test_access import step
from resources.test_destroy import befallen, destroy, gone

__all__ = ["befallen"]

ACCOUNT = "arn:aws:iot:us-east-1:123456789012"
CLI = {"aws.greengrass.Cli": {"componentVersion": "2.12.6"}}
OWN = """
components:
  - {name: helper-%(name)s, recipe: helper.yaml}
"""
HELPER = """
RecipeFormatVersion: "2020-01-25"
ComponentName: "{{ component.name }}"
ComponentVersion: "{{ version }}"
Manifests:
  - Platform: {os: linux, runtime: "*"}
    Lifecycle: {run: "sleep 1000"}
"""


def deployed(client, target):
    """The components of a target's latest deployment, and the tags of it."""
    greengrass = client("greengrassv2")
    (latest,) = greengrass.list_deployments(targetArn=f"{ACCOUNT}:{target}", historyFilter="LATEST_ONLY")["deployments"]
    found = greengrass.get_deployment(deploymentId=latest["deploymentId"])
    return found.get("components") or {}


def moved(workflow, client, group=None):
    """The workflow with another target: a second thing, or a thing group."""
    name = f"second-{workflow.metadata.name}"
    if group:
        client("iot").create_thing_group(thingGroupName=name)
        return within(workflow, "cloud.deployment", target=Target(thing_group=name))
    client("iot").create_thing(thingName=name)
    there = within(workflow, "cloud.deployment", target=Target(thing=name))
    return within(there, "cloud.fleet", devices=(name,))


@pytest.mark.parametrize("group", [False, True], ids=["to another thing", "to a thing group"])
def test_from_a_changed_target_our_components_go_and_others_stay(rollout, workflow, client, group):
    old = workflow.cloud.deployment.target.arn_suffix
    client("greengrassv2").create_deployment(targetArn=f"{ACCOUNT}:{old}", components=CLI)
    rollout.apply(workflow)
    now = moved(workflow, client, group)
    found = step(rollout.plan(now), "orphan/targets")
    assert found.diff.action is Action.REMOVE
    assert [change.field for change in found.diff.changes] == [old]
    application = workflow.edge.component.name
    assert f"removes {application} 1.0.0 from the devices of {old}" in found.diff.notes
    assert f"keeps aws.greengrass.Cli on {old}, which is not in this workflow" in found.diff.notes
    assert "1 to remove" in rollout.plan(now).summary()
    rollout.apply(now)
    assert deployed(client, old) == CLI
    assert application in deployed(client, now.cloud.deployment.target.arn_suffix)
    rollout.apply(now)
    assert rollout.changing_calls == []


def test_destroy_takes_our_components_off_an_earlier_target_too(rollout, workflow, client):
    rollout.apply(workflow)
    old = workflow.cloud.deployment.target.arn_suffix
    going, _ = destroy(rollout, moved(workflow, client))
    assert "orphan/targets" in going
    assert deployed(client, old) == {}


def test_an_earlier_target_that_is_gone_is_left_alone(rollout, workflow, client):
    rollout.apply(workflow)
    client("iot").delete_thing(thingName=workflow.cloud.deployment.target.thing)
    assert step(rollout.plan(moved(workflow, client)), "orphan/targets").diff.action is Action.NONE


@pytest.fixture
def with_helper(file, rollout):
    """A workflow with a component of its own, applied; and the same without it."""
    bare = load(file)
    text = file.read_text()
    (file.parent / "helper.yaml").write_text(HELPER)
    file.write_text(text + OWN % {"name": bare.metadata.name})
    helped = load(file)
    rollout.apply(helped)
    return helped, bare


def test_a_removed_component_is_deleted_after_the_devices_have_removed_it(rollout, with_helper, client):
    helped, bare = with_helper
    helper = helped.components[0].name
    found = step(rollout.plan(bare), "orphan/components")
    assert [(change.field, change.old, change.new) for change in found.diff.changes] == [(helper, "1.0.0", None)]
    done: list[Any] = []
    rollout.apply(bare, done.append)
    order = [call for call in rollout.changing_calls if "Deploy" in call or "DeleteComponent" in call]
    assert order == ["greengrassv2:CreateDeployment", "greengrassv2:DeleteComponent"]
    arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{helper}:versions:1.0.0"
    assert gone(client("greengrassv2").describe_component, arn=arn)
    rollout.apply(bare)
    assert rollout.changing_calls == []


def test_a_dropped_component_that_another_workflow_deploys_stays(rollout, with_helper, client):
    helped, bare = with_helper
    rollout.apply(another(moved(helped, client)))
    found = step(rollout.plan(bare), "orphan/components")
    assert found.diff.action is Action.NONE
    assert any("another-" in note and note.endswith("deploys it too") for note in found.diff.notes)


def test_renamed_fleet_role_alias_and_buckets(rollout, workflow, client):
    rollout.apply(workflow)
    cloud, tail = workflow.cloud, workflow.metadata.name
    renamed = within(workflow, "cloud.fleet", name=f"second-fleet-{tail}")
    renamed = within(renamed, "cloud.role", name=f"second-role-{tail}", alias=f"second-alias-{tail}")
    renamed = within(renamed, "cloud.buckets.inference_results", name=f"second-sagemaker-{tail}")
    plan = rollout.plan(renamed)
    removed = {each.resource.id: [change.field for change in each.diff.changes] for each in plan.steps}
    assert removed["orphan/fleets"] == [cloud.fleet.name]
    assert removed["orphan/role_aliases"] == [cloud.role.alias]
    assert removed["orphan/roles"] == [cloud.role.name]
    kept = step(plan, "orphan/buckets").diff
    assert kept.action is Action.NONE
    assert kept.notes == (
        f"bucket {cloud.buckets.inference_results.name} stays: data; emflow destroy --delete-data removes it",
    )
    rollout.apply(renamed)
    assert gone(client("sagemaker").describe_device_fleet, DeviceFleetName=cloud.fleet.name)
    assert gone(client("iot").describe_role_alias, roleAlias=cloud.role.alias)
    assert gone(client("iam").get_role, RoleName=cloud.role.name)
    client("s3").head_bucket(Bucket=cloud.buckets.inference_results.name)
    rollout.apply(renamed)
    assert rollout.changing_calls == []
    _, staying = destroy(rollout, renamed)
    assert "--delete-data" in staying["orphan/buckets"]
    shown = plan_removal(removable_resources(renamed), rollout.own(renamed), delete_data=True).text()
    assert f"      bucket {cloud.buckets.inference_results.name}: the bucket" in shown.splitlines()
    going, _ = destroy(rollout, renamed, delete_data=True)
    assert "orphan/buckets" in going
    assert gone(client("s3").head_bucket, Bucket=cloud.buckets.inference_results.name)


def test_of_an_earlier_fleet_with_others_devices_only_ours_leave(rollout, workflow, client):
    rollout.apply(workflow)
    sagemaker, old = client("sagemaker"), workflow.cloud.fleet.name
    sagemaker.register_devices(DeviceFleetName=old, Devices=[{"DeviceName": "theirs", "IotThingName": "theirs"}])
    renamed = within(workflow, "cloud.fleet", name=f"second-{old}")
    rollout.apply(renamed)
    listed = sagemaker.list_devices(DeviceFleetName=old)["DeviceSummaries"]
    assert [device["DeviceName"] for device in listed] == ["theirs"]
    found = step(rollout.plan(renamed), "orphan/fleets").diff
    assert found.action is Action.NONE
    assert found.notes == (f"{old} stays: others registered devices in it: theirs",)


def test_what_others_made_under_such_names_is_no_orphan(rollout, workflow):
    rollout.apply(another(workflow))
    plan = rollout.plan(workflow)
    assert all(each.diff.action is not Action.REMOVE for each in plan.steps)
    removal = plan_removal(removable_resources(workflow), rollout.own(workflow))
    assert not any(each.id.startswith("orphan/") for each in removal.to_remove)


def test_whoever_may_not_look_for_orphans_is_reported_and_can_do_the_rest(rollout, workflow):
    clients = rollout.clients(workflow)
    tagging = clients("resourcegroupstaggingapi")
    with Stubber(tagging) as refusing:
        for _ in range(6):  # five kinds of orphans, and what others put on the target
            refusing.add_client_error("get_resources", "AccessDeniedException", "no", 400)
        plan = make_plan(desired_resources(workflow), clients)
    notes = step(plan, "orphan/targets").diff.notes
    assert notes == ("cannot be looked for: allow tag:GetResources (AccessDeniedException)",)
    assert step(plan, "deployment/target").diff.action is Action.CREATE


def test_a_destroy_with_orphans_that_is_killed_after_any_number_of_calls_goes_on(rollout, workflow, client, befallen):
    rollout.apply(workflow)
    now = within(moved(workflow, client), "cloud.fleet", name=f"second-fleet-{workflow.metadata.name}")
    rollout.apply(within(now, "cloud.deployment", target=workflow.cloud.deployment.target))
    rollout.apply(workflow)
    kills = 0
    for _ in range(60):
        try:
            befallen(now, Faults(calls=1))
            break
        except Killed:
            kills += 1
    assert kills > 8
    assert destroy(rollout, now, delete_data=True) == ([], {})
