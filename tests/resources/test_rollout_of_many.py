"""The rollout over a thing group: one call sees the whole fleet, and only devices that failed are asked one by one."""

from __future__ import annotations

from collections import Counter

import pytest

from emflow.engine.events import Waiting
from emflow.problems import Problem
from emflow.resources import wait_for_deployment
from emflow.resources.greengrass.rollout import MAX_REASONS
from emflow.workflow.model import Target
from resources.conftest import within

DEPLOYMENT = "deployment/target"


@pytest.fixture
def fleet(rollout, workflow, client):
    """Makes a group of so many things and deploys to it: the workflow, the things, and the deployment's id."""

    def make(number):
        group = f"group-{workflow.metadata.name}"
        members = [f"{group}-{each:03}" for each in range(number)]
        iot = client("iot")
        iot.create_thing_group(thingGroupName=group)
        for member in members:
            iot.create_thing(thingName=member)
            iot.add_thing_to_thing_group(thingGroupName=group, thingName=member)
        grouped = within(workflow, "cloud.deployment", target=Target(thing_group=group))
        identity = rollout.apply(grouped).outputs[DEPLOYMENT]["id"]
        rollout.calls.clear()
        return grouped, members, identity

    return make


def test_all_members_of_a_thing_group_are_waited_for(fleet, rollout, report):
    grouped, members, identity = fleet(2)
    report(members[0], identity, "SUCCEEDED")
    seen = []

    def second(event):
        if isinstance(event, Waiting):
            seen.append(event.state)
            report(members[1], identity, "IN_PROGRESS" if len(seen) == 1 else "SUCCEEDED")

    wait_for_deployment(grouped, rollout.own(grouped), second, timeout=20)
    assert seen == ["1 SUCCEEDED, 1 QUEUED", "1 SUCCEEDED, 1 IN_PROGRESS"]


def test_a_look_at_a_large_fleet_is_one_call_whatever_its_size(fleet, rollout, report):
    grouped, members, identity = fleet(60)
    for member in members[1:]:
        report(member, identity, "SUCCEEDED")

    def last(event):
        if isinstance(event, Waiting):
            report(members[0], identity, "SUCCEEDED")

    wait_for_deployment(grouped, rollout.own(grouped), last, timeout=20)
    calls = Counter(rollout.calls)
    assert calls.pop("iot:DescribeJob") == 2
    assert "greengrassv2:ListEffectiveDeployments" not in calls
    assert sum(calls.values()) <= 4  # the deployment and the group's members, once


def test_only_devices_that_failed_are_asked_for_their_reasons(fleet, rollout, report):
    grouped, members, identity = fleet(30)
    for member in members[2:]:
        report(member, identity, "SUCCEEDED")
    report(members[0], identity, "FAILED", reason="no space left", errorStack=["DEPLOYMENT_FAILURE", "IO_ERROR"])
    report(members[1], identity, "REJECTED", reason="not now")
    with pytest.raises(Problem) as failed:
        wait_for_deployment(grouped, rollout.own(grouped), timeout=20)
    assert failed.value.what.splitlines() == [
        f"{members[0]}: the deployment FAILED: no space left [DEPLOYMENT_FAILURE > IO_ERROR]",
        f"{members[1]}: the deployment REJECTED: not now",
    ]
    assert Counter(rollout.calls)["greengrassv2:ListEffectiveDeployments"] == 2


def test_of_many_that_failed_some_are_named_and_the_others_counted(fleet, rollout, report):
    grouped, members, identity = fleet(MAX_REASONS + 5)
    for member in members:
        report(member, identity, "FAILED", reason="no space left")
    with pytest.raises(Problem) as failed:
        wait_for_deployment(grouped, rollout.own(grouped), timeout=20)
    lines = failed.value.what.splitlines()
    assert len(lines) == MAX_REASONS + 1
    assert lines[-1] == "5 more devices failed; see emflow status"
    assert Counter(rollout.calls)["greengrassv2:ListEffectiveDeployments"] == MAX_REASONS


def test_waiting_for_a_group_ends_when_its_deployment_is_cancelled_or_replaced(fleet, rollout, client):
    grouped, _, identity = fleet(1)
    greengrass = client("greengrassv2")

    def cancel(event):
        if isinstance(event, Waiting):
            greengrass.cancel_deployment(deploymentId=identity)

    with pytest.raises(Problem, match="the deployment was cancelled"):
        wait_for_deployment(grouped, rollout.own(grouped), cancel, timeout=20)

    again = rollout.apply(grouped).outputs[DEPLOYMENT]["id"]
    assert again != identity
    target = greengrass.get_deployment(deploymentId=again)["targetArn"]

    def replace(event):
        if isinstance(event, Waiting):
            greengrass.create_deployment(targetArn=target, components={})

    with pytest.raises(Problem, match="another deployment has replaced this one"):
        wait_for_deployment(grouped, rollout.own(grouped), replace, timeout=20)


def test_a_group_without_things_is_reported_and_not_waited_for(fleet, rollout):
    grouped, _, _ = fleet(0)
    with pytest.raises(Problem, match="no core device is in thinggroup/"):
        wait_for_deployment(grouped, rollout.own(grouped), timeout=20)
