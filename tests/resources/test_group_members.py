"""The devices of a thing group are its members of this moment, whatever has succeeded on them or has left the group."""

from __future__ import annotations

from collections import Counter

import pytest
from botocore.exceptions import ClientError

from emflow.cli.status import as_text
from emflow.engine.destroy import plan_removal, remove
from emflow.resources.greengrass.core_device import CoreDevices
from emflow.resources.greengrass.thing_group import MOST_SINGLE
from emflow.resources.status import read_status
from emflow.workflow.model import Target
from resources.conftest import within
from resources.test_destroy import gone


@pytest.fixture
def group(rollout, workflow, client):
    """Makes a group with so many members and deploys to it: the workflow, its members, and the deployment's id."""

    def make(number, name="group"):
        iot, name = client("iot"), f"{name}-{workflow.metadata.name}"
        iot.create_thing_group(thingGroupName=name)
        members = [f"{name}-{each:03}" for each in range(number)]
        for member in members:
            iot.create_thing(thingName=member)
            iot.add_thing_to_thing_group(thingGroupName=name, thingName=member)
        grouped = within(workflow, "cloud.deployment", target=Target(thing_group=name))
        identity = rollout.apply(grouped).outputs["deployment/target"]["id"]
        rollout.calls.clear()
        return grouped, members, identity

    return make


def leave(client, grouped, thing):
    name = grouped.cloud.deployment.target.thing_group
    client("iot").remove_thing_from_thing_group(thingGroupName=name, thingName=thing)


def test_a_member_whose_first_deployment_failed_has_its_health_and_says_why(group, rollout, report):
    grouped, (failed, silent, well), identity = group(3)
    report(failed, identity, "FAILED", health="UNHEALTHY", reason="no space left")
    report(well, identity, "SUCCEEDED")
    status = read_status(grouped, rollout.own(grouped))
    known = {device.thing: device for device in status.devices}
    assert {thing: device.health for thing, device in known.items()} == {
        failed: "UNHEALTHY",
        silent: "UNKNOWN",
        well: "HEALTHY",
    }
    text = as_text(status).plain
    assert "no space left" in text
    assert text.count("never connected") == 1


def test_a_device_that_has_left_the_group_has_no_place_in_its_status(group, rollout, client, report):
    grouped, (gone_away, there), identity = group(2)
    for member in (gone_away, there):
        report(member, identity, "SUCCEEDED")
    leave(client, grouped, gone_away)
    assert [device.thing for device in read_status(grouped, rollout.own(grouped)).devices] == [there]


def test_members_of_child_groups_are_devices_too(group, rollout, client, report):
    grouped, (direct,), identity = group(1)
    parent = grouped.cloud.deployment.target.thing_group
    iot, child, below = client("iot"), f"{parent}-child", f"{parent}-below"
    iot.create_thing_group(thingGroupName=child, parentGroupName=parent)
    iot.create_thing(thingName=below)
    iot.add_thing_to_thing_group(thingGroupName=child, thingName=below)
    for member in (direct, below):
        report(member, identity, "FAILED")
    status = read_status(grouped, rollout.own(grouped))
    assert sorted((device.thing, device.health) for device in status.devices) == [
        (direct, "HEALTHY"),
        (below, "HEALTHY"),
    ]


def test_before_any_success_a_large_group_costs_pages_and_no_call_for_each_member(group, rollout, report):
    grouped, members, identity = group(MOST_SINGLE + 20)
    for member in members[1:]:
        report(member, identity, "FAILED", health="UNHEALTHY")
    status = read_status(grouped, rollout.own(grouped), most_devices=1)
    calls = Counter(rollout.calls)
    assert [device.health for device in sorted(status.devices, key=lambda device: device.thing)] == [
        "UNKNOWN",
        *["UNHEALTHY"] * (len(members) - 1),
    ]
    assert calls["greengrassv2:ListCoreDevices"] <= 4
    assert calls["greengrassv2:GetCoreDevice"] <= 1  # of the one whose details are read
    assert calls["greengrassv2:ListEffectiveDeployments"] <= 1


def test_only_core_devices_that_are_members_now_are_deleted(group, rollout, client, report):
    grouped, (left, failed, well, silent), identity = group(4)
    report(left, identity, "SUCCEEDED")
    report(failed, identity, "FAILED")
    report(well, identity, "SUCCEEDED")
    leave(client, grouped, left)
    clients, cores = rollout.own(grouped), CoreDevices(grouped.cloud.deployment.target)
    assert cores.observe(clients) == {"cores": [failed, well]}
    remove(plan_removal([cores], clients), clients)
    get = client("greengrassv2").get_core_device
    assert gone(get, coreDeviceThingName=failed)
    assert gone(get, coreDeviceThingName=well)
    assert get(coreDeviceThingName=left)["coreDeviceThingName"] == left
    assert cores.observe(clients) is None
    with pytest.raises(ClientError):
        get(coreDeviceThingName=silent)


def test_devices_that_leave_or_join_the_group_after_the_plan_are_not_deleted(group, rollout, client, report):
    grouped, (left, stays), identity = group(2)
    joined, iot = f"{stays}-late", client("iot")
    for member in (left, stays, joined):
        report(member, identity, "SUCCEEDED")
    clients = rollout.own(grouped)
    removal = plan_removal([CoreDevices(grouped.cloud.deployment.target)], clients)
    leave(client, grouped, left)
    iot.create_thing(thingName=joined)
    iot.add_thing_to_thing_group(thingGroupName=grouped.cloud.deployment.target.thing_group, thingName=joined)
    remove(removal, clients)
    get = client("greengrassv2").get_core_device
    for thing in (left, joined):
        assert get(coreDeviceThingName=thing)["coreDeviceThingName"] == thing
    assert gone(get, coreDeviceThingName=stays)


def test_a_group_that_is_gone_has_no_devices(group, rollout, client, report):
    grouped, (member,), identity = group(1)
    report(member, identity, "SUCCEEDED")
    clients = rollout.own(grouped)
    removal = plan_removal([CoreDevices(grouped.cloud.deployment.target)], clients)
    leave(client, grouped, member)
    client("iot").delete_thing_group(thingGroupName=grouped.cloud.deployment.target.thing_group)
    remove(removal, clients)
    client("greengrassv2").get_core_device(coreDeviceThingName=member)
    assert read_status(grouped, clients).devices == ()
