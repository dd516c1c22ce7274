"""Destroy: what the workflow made goes, what it did not make stays, data goes only when told."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from emflow.engine.cancellation import Cancellation, Interrupted
from emflow.engine.clients import Clients
from emflow.engine.destroy import plan_removal, remove
from emflow.engine.events import Done
from emflow.resources import removable_resources
from emflow.resources.greengrass.core_device import CoreDevices
from emflow.workflow import load
from emflow.workflow.model import Target
from resources.conftest import another, within
from resources.faults import Faults, Killed


def destroy(rollout, workflow, **how):
    clients = rollout.own(workflow)
    removal = plan_removal(removable_resources(workflow), clients, **how)
    remove(removal, clients)
    return [resource.id for resource in removal.to_remove], {resource.id: why for resource, why in removal.to_keep}


def gone(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404)


def test_what_was_made_goes_in_reverse_order_and_the_buckets_stay(rollout, workflow, client):
    rollout.apply(workflow)
    going, staying = destroy(rollout, workflow)
    assert going.index("deployment/target") < going.index("model/package")
    assert going.index("fleet/devices") < going.index("fleet/fleet") < going.index("access/role")
    assert "--delete-data" in staying["bucket/components"]
    assert "--delete-data" in staying["bucket/inference_results"]
    cloud = workflow.cloud
    assert gone(client("iam").get_role, RoleName=cloud.role.name)
    assert gone(client("sagemaker").describe_device_fleet, DeviceFleetName=cloud.fleet.name)
    own = "arn:aws:greengrass:us-east-1:123456789012:components"
    for name in (cloud.package.component.name, workflow.edge.component.name):
        assert gone(client("greengrassv2").list_component_versions, arn=f"{own}:{name}")
    client("s3").head_bucket(Bucket=cloud.buckets.components.name)


def test_data_is_deleted_on_request(rollout, workflow, client):
    rollout.apply(workflow)
    name = workflow.cloud.buckets.inference_results.name
    client("s3").put_object(
        Bucket=name, Key=f"sme-capture/{workflow.cloud.fleet.name}/model/2026/01/01/00/a.jsonl", Body=b"{}"
    )
    going, _ = destroy(rollout, workflow, delete_data=True)
    assert {"bucket/components", "bucket/inference_results"} <= set(going)
    assert gone(client("s3").head_bucket, Bucket=name)


def test_devices_drop_our_components_and_keep_the_others(rollout, workflow, client):
    thing = workflow.cloud.deployment.target.thing
    target = f"arn:aws:iot:us-east-1:123456789012:thing/{thing}"
    greengrass = client("greengrassv2")
    greengrass.create_deployment(targetArn=target, components={"aws.greengrass.Cli": {"componentVersion": "2.12.6"}})
    rollout.apply(workflow)
    destroy(rollout, workflow)
    (latest,) = greengrass.list_deployments(targetArn=target, historyFilter="LATEST_ONLY")["deployments"]
    made = greengrass.get_deployment(deploymentId=latest["deploymentId"])
    assert set(made["components"]) == {"aws.greengrass.Cli"}
    going, staying = destroy(rollout, workflow)
    assert "deployment/target" not in {*going, *staying}


def test_what_was_there_before_is_never_deleted(rollout, workflow, client):
    cloud = workflow.cloud
    bucket = cloud.buckets.components.name
    client("s3").create_bucket(Bucket=bucket)
    client("iam").create_role(
        RoleName=cloud.role.name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []})
    )
    rollout.apply(workflow, adopt={"bucket/components"})
    going, staying = destroy(rollout, workflow, delete_data=True)
    assert staying["bucket/components"] == "it was not made by this workflow"
    assert staying["access/role"] == "it was not made by this workflow"
    assert "access/permissions" in going  # the policy that we put on it
    client("s3").head_bucket(Bucket=bucket)
    assert client("iam").list_role_policies(RoleName=cloud.role.name)["PolicyNames"] == []


def test_another_workflow_takes_nothing_of_this_one(rollout, workflow, client):
    rollout.apply(workflow)
    going, _ = destroy(rollout, another(workflow))
    assert going == []
    client("iam").get_role(RoleName=workflow.cloud.role.name)


def test_the_second_time_there_is_nothing_to_remove(rollout, workflow):
    rollout.apply(workflow)
    destroy(rollout, workflow)
    removal = plan_removal(removable_resources(workflow), rollout.own(workflow))
    assert removal.text().splitlines() == [
        "  = kept: bucket/components, bucket/inference_results (data; --delete-data removes it)",
        "Nothing to remove.",
    ]
    destroy(rollout, workflow, delete_data=True)
    removal = plan_removal(removable_resources(workflow), rollout.own(workflow), delete_data=True)
    assert removal.text() == "Nothing to remove."


def test_every_version_of_every_object_goes_with_its_bucket(rollout, workflow, client):
    versioned = within(workflow, "cloud.buckets.inference_results", versioning=True)
    rollout.apply(versioned)
    s3, name = client("s3"), workflow.cloud.buckets.inference_results.name
    for body in (b"1", b"2"):
        s3.put_object(Bucket=name, Key=f"sme-capture/{workflow.cloud.fleet.name}/a.jsonl", Body=body)
    s3.delete_object(Bucket=name, Key=f"sme-capture/{workflow.cloud.fleet.name}/a.jsonl")
    destroy(rollout, versioned, delete_data=True)
    assert gone(s3.head_bucket, Bucket=name)


def test_the_core_device_is_removed_only_on_request_and_last(rollout, workflow, client, report):
    identity = rollout.apply(workflow).outputs["deployment/target"]["id"]
    thing = workflow.cloud.deployment.target.thing
    report(thing, identity, "SUCCEEDED")
    destroy(rollout, workflow)
    client("greengrassv2").get_core_device(coreDeviceThingName=thing)
    clients = rollout.own(workflow)
    removal = plan_removal(removable_resources(workflow, delete_core_devices=True), clients, delete_data=True)
    assert [(each.id, each.name) for each in removal.to_remove][-1] == ("device/core", thing)
    remove(removal, clients)
    assert gone(client("greengrassv2").get_core_device, coreDeviceThingName=thing)
    removal = plan_removal(removable_resources(workflow, delete_core_devices=True), clients, delete_data=True)
    assert removal.text() == "Nothing to remove."


def test_every_core_device_of_a_thing_group_goes(rollout, workflow, client, report):
    iot, group = client("iot"), f"group-{workflow.metadata.name}"
    iot.create_thing_group(thingGroupName=group)
    members = [f"{group}-{number}" for number in range(2)]
    grouped = within(workflow, "cloud.deployment", target=Target(thing_group=group))
    identity = rollout.apply(grouped).outputs["deployment/target"]["id"]
    for member in members:
        iot.create_thing(thingName=member)
        iot.add_thing_to_thing_group(thingGroupName=group, thingName=member)
        report(member, identity, "SUCCEEDED")
    clients = rollout.own(workflow)
    remove(plan_removal([CoreDevices(grouped.cloud.deployment.target)], clients), clients)
    for member in members:
        assert gone(client("greengrassv2").get_core_device, coreDeviceThingName=member)


def test_a_fleet_with_others_devices_stays_with_what_it_needs_and_the_rest_goes(rollout, workflow, client):
    rollout.apply(workflow)
    fleet, sagemaker = workflow.cloud.fleet.name, client("sagemaker")
    sagemaker.register_devices(DeviceFleetName=fleet, Devices=[{"DeviceName": "theirs", "IotThingName": "theirs"}])
    going, staying = destroy(rollout, workflow, delete_data=True)
    assert staying["fleet/fleet"] == "others registered devices in it: theirs"
    assert staying["access/role"] == staying["bucket/inference_results"] == "fleet/fleet stays, and needs it"
    assert {"fleet/devices", "access/role_alias", "bucket/components"} <= set(going)
    client("iam").get_role(RoleName=workflow.cloud.role.name)
    listed = sagemaker.list_devices(DeviceFleetName=fleet)["DeviceSummaries"]
    assert [device["DeviceName"] for device in listed] == ["theirs"]
    sagemaker.deregister_devices(DeviceFleetName=fleet, DeviceNames=["theirs"])
    going, _ = destroy(rollout, workflow)
    assert going == ["fleet/fleet", "access/role"]


def test_what_was_deployed_before_us_is_left_on_the_devices(rollout, workflow, client):
    thing, greengrass = workflow.cloud.deployment.target.thing, client("greengrassv2")
    target = f"arn:aws:iot:us-east-1:123456789012:thing/{thing}"
    nucleus = {"componentVersion": "2.12.6", "configurationUpdate": {"merge": '{"mqtt": {"port": 443}}'}}
    greengrass.create_deployment(targetArn=target, components={"aws.greengrass.Nucleus": nucleus})
    rollout.apply(workflow)
    destroy(rollout, workflow)
    (latest,) = greengrass.list_deployments(targetArn=target, historyFilter="LATEST_ONLY")["deployments"]
    made = greengrass.get_deployment(deploymentId=latest["deploymentId"])
    assert made["components"] == {"aws.greengrass.Nucleus": nucleus}


def test_components_go_from_the_devices_even_if_somebody_revised_our_deployment(rollout, workflow, client):
    greengrass = client("greengrassv2")
    identity = rollout.apply(workflow).outputs["deployment/target"]["id"]
    made = greengrass.get_deployment(deploymentId=identity)
    cli = {"aws.greengrass.Cli": {"componentVersion": "2.12.6"}}
    greengrass.create_deployment(targetArn=made["targetArn"], components={**made["components"], **cli})
    going, _ = destroy(rollout, workflow)
    assert "deployment/target" in going
    listed = greengrass.list_deployments(targetArn=made["targetArn"], historyFilter="LATEST_ONLY")["deployments"]
    assert greengrass.get_deployment(deploymentId=listed[0]["deploymentId"])["components"] == cli


@pytest.fixture
def befallen(rollout, workflow):
    """Clients to whose calls something happens, which a test may set."""
    current = [Faults()]
    session: Any = boto3.Session(region_name=workflow.aws.region)
    session.events.register("before-send", lambda **call: current[0](**call))
    clients = Clients(workflow.aws, session)

    def run(workflow, faults):
        current[0] = Faults()
        removal = plan_removal(removable_resources(workflow), clients, delete_data=True)
        current[0] = faults
        remove(removal, clients)

    return run


def test_killed_after_any_number_of_calls_it_goes_on_where_it_was(rollout, workflow, befallen):
    rollout.apply(workflow)
    kills = 0
    for _ in range(40):
        try:
            befallen(workflow, Faults(calls=1))
            break
        except Killed:
            kills += 1
    assert kills > 8
    assert destroy(rollout, workflow, delete_data=True) == ([], {})


def test_with_the_answer_to_every_call_lost_it_takes_down_the_same(rollout, workflow, befallen):
    rollout.apply(workflow)
    befallen(workflow, Faults(lose_all=True))
    assert destroy(rollout, workflow, delete_data=True) == ([], {})


def test_a_destroy_that_was_stopped_goes_on_with_what_is_left(rollout, workflow):
    rollout.apply(workflow)
    clients, cancellation = rollout.own(workflow), Cancellation()
    removal = plan_removal(removable_resources(workflow), clients)

    def after_the_first(event):
        if isinstance(event, Done):
            cancellation.request("interrupted by Ctrl-C", 130)

    with pytest.raises(Interrupted) as stopped:
        remove(removal, clients, after_the_first, cancellation)
    assert stopped.value.exit_code == 130
    assert stopped.value.not_begun == tuple(each.id for each in removal.to_remove[1:])
    going, _ = destroy(rollout, workflow)
    assert going == list(stopped.value.not_begun)


def test_after_destroy_the_same_workflow_can_be_applied_again(rollout, workflow):
    rollout.apply(workflow)
    destroy(rollout, workflow, delete_data=True)
    rollout.apply(workflow)
    assert rollout.plan(workflow).changes == ()


def test_it_needs_none_of_the_files_beside_the_workflow(rollout, file):
    text = file.read_text().replace("    target:", "    name: with files\n    target:")
    text = text.replace("devices: [", "devices_file: devices.txt, devices: [")
    (file.parent / "devices.txt").write_text(f"second-{load(file).metadata.name}\n")
    file.write_text(text)
    rollout.apply(load(file))
    for beside in file.parent.iterdir():
        if beside != file:
            beside.unlink()
    going, _ = destroy(rollout, load(file), delete_data=True)
    assert {"model/package", "application/component", "fleet/devices", "bucket/components"} <= set(going)
    assert destroy(rollout, load(file), delete_data=True) == ([], {})
