"""The status of a large thing group: everybody's health, and the details of those that are not well first."""

from __future__ import annotations

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
