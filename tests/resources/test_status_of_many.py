"""The status of a large thing group: everybody's health, and the details of those that are not well first."""

from __future__ import annotations

import pytest

from emflow.cli.status import as_data, as_text
from emflow.resources.status import MAX_DETAILED, read_status
from emflow.workflow.model import Target
from resources.conftest import within

MANY = MAX_DETAILED + 12


def test_of_a_large_group_every_health_is_read_and_of_the_ailing_the_details(rollout, workflow, client, report):
    iot, group = client("iot"), f"hall-{workflow.metadata.name}"
    iot.create_thing_group(thingGroupName=group)
    members = [f"{group}-{number:03}" for number in range(MANY)]
    for member in members:
        iot.create_thing(thingName=member)
        iot.add_thing_to_thing_group(thingGroupName=group, thingName=member)
    grouped = within(workflow, "cloud.deployment", target=Target(thing_group=group))
    identity = rollout.apply(grouped).outputs["deployment/target"]["id"]
    silent, broken = members[-1], members[-2]
    for member in members[:-1]:
        failed = member == broken
        report(member, identity, "FAILED" if failed else "SUCCEEDED", health="UNHEALTHY" if failed else "HEALTHY")
    status = read_status(grouped, rollout.own(grouped))
    assert sorted(device.thing for device in status.devices) == members
    known = {device.thing: device for device in status.devices}
    assert sum(device.detailed for device in status.devices) == MAX_DETAILED
    assert (known[silent].health, known[silent].detailed) == ("UNKNOWN", True)
    assert (failure := known[broken].deployment)
    assert (known[broken].health, failure.status) == ("UNHEALTHY", "FAILED")
    assert not status.well
    ailing = {thing for thing, device in known.items() if not device.well}
    assert ailing == {silent, broken}


@pytest.fixture
def group(rollout, workflow, client, report):
    """A thing group of 60 devices, all of which are well."""
    iot, name = client("iot"), f"hall-{workflow.metadata.name}"
    iot.create_thing_group(thingGroupName=name)
    members = [f"{name}-{number:03}" for number in range(60)]
    for member in members:
        iot.create_thing(thingName=member)
        iot.add_thing_to_thing_group(thingGroupName=name, thingName=member)
    grouped = within(workflow, "cloud.deployment", target=Target(thing_group=name))
    identity = rollout.apply(grouped).outputs["deployment/target"]["id"]
    for member in members:
        report(member, identity, "SUCCEEDED")
    return grouped, members, identity


def test_devices_that_were_not_looked_at_are_not_known_to_be_well(rollout, group, report):
    grouped, members, identity = group
    clients = rollout.own(grouped)
    status = read_status(grouped, clients)
    assert (len(status.devices), status.looked_at, status.well) == (60, MAX_DETAILED, False)
    assert f"looked at    {MAX_DETAILED} of 60 devices" in as_text(status).plain
    assert "of 10 devices only the health is known" in as_text(status).plain
    data = as_data(status)
    assert (data["looked_at"], data["well"]) == (MAX_DETAILED, False)
    # Healthy, and without the deployment: only the details say so.
    report(members[-1], identity, "FAILED")
    for devices, well in ((60, False), (59, False)):
        assert read_status(grouped, clients, most_devices=devices).well is well
    report(members[-1], identity, "SUCCEEDED")
    whole = read_status(grouped, clients, most_devices=60)
    assert (whole.looked_at, whole.well) == (60, True)
    assert "looked at" not in as_text(whole).plain
    assert not read_status(grouped, clients, most_devices=59).well
