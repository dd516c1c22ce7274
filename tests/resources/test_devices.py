"""Devices: registered in batches, from a list, a file and a thing group; dropped when the workflow drops them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from emflow.engine.resource import Action
from emflow.problems import Problem, WorkflowProblem
from emflow.resources.ownership import Ownership
from emflow.resources.sagemaker.devices import LONGEST_DESCRIPTION, Devices
from emflow.workflow import load
from resources.conftest import within

DEVICES = "fleet/devices"


def step(plan, resource=DEVICES):
    return next(step for step in plan.steps if step.resource.id == resource)


@pytest.fixture
def sagemaker(client):
    return client("sagemaker")


@pytest.fixture
def registered(workflow, sagemaker):
    """What the fleet holds now: device name → thing."""

    def read():
        pages = sagemaker.get_paginator("list_devices").paginate(DeviceFleetName=workflow.cloud.fleet.name)
        return {each["DeviceName"]: each["IotThingName"] for page in pages for each in page["DeviceSummaries"]}

    return read


def test_devices_are_registered_in_batches_and_unchanged_ones_cost_no_call(rollout, workflow, registered):
    devices = tuple(f"new-{number}" for number in range(250))
    many = within(workflow, "cloud.fleet", devices=devices)
    rollout.apply(workflow)
    rollout.apply(many)
    assert rollout.calls.count("sagemaker:RegisterDevices") == 3
    assert set(registered()) == set(devices)

    rollout.apply(many)
    assert rollout.changing_calls == []
    assert rollout.calls.count("sagemaker:ListDevices") == 3
    assert rollout.calls.count("sagemaker:ListTags") == 1  # the fleet's

    few = within(workflow, "cloud.fleet", devices=devices[:10])
    assert "registered: - new-10" in rollout.plan(few).text()
    rollout.apply(few)
    assert rollout.calls.count("sagemaker:DeregisterDevices") == 3
    assert set(registered()) == set(devices[:10])


def test_a_dropped_device_is_deregistered_only_if_the_workflow_registered_it(rollout, workflow, sagemaker, registered):
    rollout.apply(workflow)
    fleet = workflow.cloud.fleet
    sagemaker.register_devices(DeviceFleetName=fleet.name, Devices=[{"DeviceName": "theirs", "IotThingName": "theirs"}])
    other = within(workflow, "cloud.fleet", devices=("other",))
    text = rollout.plan(other).text()
    assert f"registered: - {fleet.devices[0]}" in text
    assert "registered by others, and left alone: theirs" in text
    rollout.apply(other)
    assert set(registered()) == {"other", "theirs"}
    assert rollout.plan(other).changes == ()


def test_a_device_that_others_registered_before_stays_theirs(rollout, workflow, sagemaker, registered):
    rollout.apply(within(workflow, "cloud.fleet", devices=()))
    name = workflow.cloud.fleet.devices[0]
    device = {"DeviceName": name, "IotThingName": name}
    sagemaker.register_devices(DeviceFleetName=workflow.cloud.fleet.name, Devices=[device])
    assert step(rollout.plan(workflow)).diff.action is Action.NONE
    rollout.apply(within(workflow, "cloud.fleet", devices=("other",)))
    assert set(registered()) == {name, "other"}


def test_what_somebody_changed_in_a_registration_is_shown_and_mended(rollout, workflow, sagemaker, registered):
    rollout.apply(workflow)
    (name,) = workflow.cloud.fleet.devices
    fleet = workflow.cloud.fleet.name
    changed = {"DeviceName": name, "IotThingName": "elsewhere", "Description": "the one by the door"}
    sagemaker.update_devices(DeviceFleetName=fleet, Devices=[changed])
    text = rollout.plan(workflow).text()
    assert f"{name}.thing: elsewhere → {name}" in text
    assert f"{name}.description: the one by the door → emflow {workflow.metadata.name}" in text
    rollout.apply(workflow)
    assert rollout.changing_calls == ["sagemaker:UpdateDevices"]
    assert registered() == {name: name}
    assert rollout.plan(workflow).changes == ()


def test_devices_come_from_a_file_beside_the_workflow(rollout, file, registered):
    text = file.read_text()
    file.write_text(text.replace("devices: [", "devices_file: devices.txt, devices: ["))
    (file.parent / "devices.txt").write_text("\ufeff# hall 3\nhall-3-001\n\nhall-3-002  # by the door\nhall-3-001\n")
    workflow = load(file)
    rollout.apply(workflow)
    assert set(registered()) == {workflow.cloud.fleet.devices[0], "hall-3-001", "hall-3-002"}
    assert rollout.plan(workflow).changes == ()


def test_a_wrong_name_in_the_file_is_refused_with_its_line_and_column(file):
    file.write_text(file.read_text().replace("devices: [", "devices_file: devices.txt, devices: ["))
    (file.parent / "devices.txt").write_text("hall-3-001\n  hall_3_002\n")
    with pytest.raises(WorkflowProblem) as refused:
        load(file)
    (finding,) = [each for each in refused.value.findings if each.code == "EM030"]
    assert "devices.txt:2:3: this is no device name" in finding.message
    assert finding.line == file.read_text()[: file.read_text().index("devices_file")].count("\n") + 1


def test_a_file_of_devices_that_is_missing_is_named(rollout, file):
    file.write_text(file.read_text().replace("devices: [", "devices_file: devices.txt, devices: ["))
    with pytest.raises(Problem, match=r"devices\.txt.*cannot be read: No such file"):
        rollout.plan(load(file))


def test_members_of_a_thing_group_are_registered_and_deregistered_when_they_leave(
    rollout, workflow, client, registered
):
    iot, group = client("iot"), f"group-{workflow.metadata.name}"
    grouped = within(workflow, "cloud.fleet", devices=(), thing_group=group)
    with pytest.raises(Problem, match=f"IoT knows no thing group {group}"):
        rollout.plan(grouped)
    iot.create_thing_group(thingGroupName=group)
    members = [f"member-{number}-{workflow.metadata.name}" for number in range(3)]
    for member in members:
        iot.create_thing(thingName=member)
        iot.add_thing_to_thing_group(thingGroupName=group, thingName=member)
    rollout.apply(grouped)
    assert set(registered()) == set(members)
    assert rollout.plan(grouped).changes == ()
    iot.remove_thing_from_thing_group(thingGroupName=group, thingName=members[0])
    rollout.apply(grouped)
    assert set(registered()) == set(members[1:])


def test_a_member_whose_name_edge_manager_does_not_take_is_named(rollout, workflow, client):
    iot, group = client("iot"), f"group-{workflow.metadata.name}"
    iot.create_thing_group(thingGroupName=group)
    iot.create_thing(thingName="with_underscore")
    iot.add_thing_to_thing_group(thingGroupName=group, thingName="with_underscore")
    with pytest.raises(Problem, match=r"1 members of thing group .* cannot be devices: with_underscore"):
        rollout.plan(within(workflow, "cloud.fleet", thing_group=group))


def test_a_registration_whose_answer_was_lost_is_not_repeated(rollout, workflow, registered):
    clients = rollout.clients(workflow)
    devices = tuple(f"new-{number}" for number in range(150))
    many = within(workflow, "cloud.fleet", devices=devices)
    rollout.apply(within(workflow, "cloud.fleet", devices=()))
    lost: list[Any] = []

    def lose(**_):
        if not lost:
            lost.append(1)
            raise ReadTimeoutError(endpoint_url="https://aws.example")

    clients("sagemaker").meta.events.register("after-call.sagemaker.RegisterDevices", lose)
    resource = step(rollout.plan(many)).resource
    observed = resource.observe(clients)
    rollout.calls.clear()
    resource.apply(clients, resource.diff(observed, None), None, Quiet())
    assert rollout.calls.count("sagemaker:RegisterDevices") == 2
    assert set(registered()) == set(devices)


class Quiet:
    """A run that nobody listens to."""

    def waiting(self, state, reason=""):
        pass

    def pause(self, seconds):
        pass


@pytest.mark.parametrize("name", ["demo", "w" * 63])
def test_whose_a_registration_is_fits_into_a_description(name):
    description = Devices("fleet", (), Ownership(name, DEVICES)).description
    assert description.startswith(f"emflow {name[:20]}")
    assert len(description) <= LONGEST_DESCRIPTION


def test_two_long_names_are_distinguished():
    first, second = (Devices("fleet", (), Ownership("w" * 62 + end, DEVICES)).description for end in "ab")
    assert first != second
