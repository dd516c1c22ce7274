"""SageMaker's device fleets: created, with a role alias, filled with devices, emptied, deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

OUTPUT = {"S3OutputLocation": "s3://made-for-tests/captures"}


@pytest.fixture
def fleet(sagemaker: Any, fresh: Callable[[str], str]) -> str:
    name = fresh("fleet")
    sagemaker.create_device_fleet(DeviceFleetName=name, OutputConfig=OUTPUT)
    return name


def names(answer: dict[str, Any]) -> list[str]:
    return [each["DeviceName"] for each in answer["DeviceSummaries"]]


def test_a_fleet_is_described_as_it_was_created(sagemaker: Any, role: str, fresh: Callable[[str], str]) -> None:
    name = fresh("fleet")
    sagemaker.create_device_fleet(
        DeviceFleetName=name, RoleArn=role, OutputConfig=OUTPUT, Description="Ours", Tags=[{"Key": "a", "Value": "b"}]
    )
    described = sagemaker.describe_device_fleet(DeviceFleetName=name)
    assert described["RoleArn"] == role
    assert described["OutputConfig"] == OUTPUT
    assert described["Description"] == "Ours"
    assert described["DeviceFleetArn"] == f"arn:aws:sagemaker:us-east-1:123456789012:device-fleet/{name}"
    assert "IotRoleAlias" not in described
    assert sagemaker.list_tags(ResourceArn=described["DeviceFleetArn"])["Tags"] == [{"Key": "a", "Value": "b"}]


def test_the_role_alias_is_made_when_asked(sagemaker: Any, iot: Any, role: str, fresh: Callable[[str], str]) -> None:
    name = fresh("fleet")
    sagemaker.create_device_fleet(DeviceFleetName=name, RoleArn=role, OutputConfig=OUTPUT, EnableIotRoleAlias=True)
    alias = iot.describe_role_alias(roleAlias=f"SageMakerEdge-{name}")["roleAliasDescription"]
    assert alias["roleArn"] == role
    assert sagemaker.describe_device_fleet(DeviceFleetName=name)["IotRoleAlias"] == alias["roleAliasArn"]


def test_a_role_alias_that_is_there_is_taken_when_it_is_for_the_same_role(
    sagemaker: Any, iot: Any, iam: Any, role: str, fresh: Callable[[str], str]
) -> None:
    mine, other = fresh("fleet"), fresh("fleet")
    iot.create_role_alias(roleAlias=f"SageMakerEdge-{mine}", roleArn=role)
    sagemaker.create_device_fleet(DeviceFleetName=mine, RoleArn=role, OutputConfig=OUTPUT, EnableIotRoleAlias=True)
    iot.create_role_alias(roleAlias=f"SageMakerEdge-{other}", roleArn="arn:aws:iam::123456789012:role/another-role")
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="is for another role"):
        sagemaker.create_device_fleet(DeviceFleetName=other, RoleArn=role, OutputConfig=OUTPUT, EnableIotRoleAlias=True)


def test_the_role_has_to_exist_and_to_trust_sagemaker(sagemaker: Any, iam: Any, fresh: Callable[[str], str]) -> None:
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
    name = fresh("role")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    for role in (name, "nobody"):
        with pytest.raises(ClientError, match="Could not assume role") as refused:
            sagemaker.create_device_fleet(
                DeviceFleetName=fresh("fleet"),
                RoleArn=f"arn:aws:iam::123456789012:role/{role}",
                OutputConfig=OUTPUT,
            )
        assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_a_fleet_exists_once(sagemaker: Any, fleet: str) -> None:
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="already exists"):
        sagemaker.create_device_fleet(DeviceFleetName=fleet, OutputConfig=OUTPUT)


def test_a_fleet_can_be_changed(sagemaker: Any, fleet: str, role: str) -> None:
    before = sagemaker.describe_device_fleet(DeviceFleetName=fleet)
    elsewhere = {"S3OutputLocation": "s3://made-for-tests/elsewhere"}
    sagemaker.update_device_fleet(DeviceFleetName=fleet, OutputConfig=elsewhere, RoleArn=role, Description="New")
    after = sagemaker.describe_device_fleet(DeviceFleetName=fleet)
    assert (after["OutputConfig"], after["RoleArn"], after["Description"]) == (elsewhere, role, "New")
    assert after["CreationTime"] == before["CreationTime"]
    assert after["LastModifiedTime"] > before["LastModifiedTime"]


def test_devices_are_registered_described_changed_and_deregistered(sagemaker: Any, fleet: str) -> None:
    devices = [{"DeviceName": "core-1", "IotThingName": "core-1", "Description": "first"}, {"DeviceName": "core-2"}]
    sagemaker.register_devices(DeviceFleetName=fleet, Devices=devices)
    described = sagemaker.describe_device(DeviceFleetName=fleet, DeviceName="core-1")
    assert (described["IotThingName"], described["Description"]) == ("core-1", "first")
    assert "LatestHeartbeat" not in described
    sagemaker.update_devices(DeviceFleetName=fleet, Devices=[{"DeviceName": "core-1", "Description": "changed"}])
    changed = sagemaker.describe_device(DeviceFleetName=fleet, DeviceName="core-1")
    assert (changed["IotThingName"], changed["Description"]) == ("core-1", "changed")
    assert names(sagemaker.list_devices(DeviceFleetName=fleet)) == ["core-1", "core-2"]
    sagemaker.deregister_devices(DeviceFleetName=fleet, DeviceNames=["core-1"])
    assert names(sagemaker.list_devices(DeviceFleetName=fleet)) == ["core-2"]
    with pytest.raises(ClientError, match=r"\(ValidationException\).*No device with name core-1"):
        sagemaker.describe_device(DeviceFleetName=fleet, DeviceName="core-1")


def test_a_device_is_registered_once_and_all_or_none_are(sagemaker: Any, fleet: str) -> None:
    sagemaker.register_devices(DeviceFleetName=fleet, Devices=[{"DeviceName": "a"}])
    with pytest.raises(ClientError, match=r"only once: a\."):
        sagemaker.register_devices(DeviceFleetName=fleet, Devices=[{"DeviceName": "b"}, {"DeviceName": "a"}])
    assert names(sagemaker.list_devices(DeviceFleetName=fleet)) == ["a"]
    with pytest.raises(ClientError, match="not registered in fleet"):
        sagemaker.deregister_devices(DeviceFleetName=fleet, DeviceNames=["b"])


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ({"DeviceName": "no_underscore"}, "regular expression"),
        ({"DeviceName": "ok", "Description": "d" * 41}, "length less than or equal to 40"),
    ],
)
def test_what_is_no_device_is_refused(sagemaker: Any, fleet: str, device: dict[str, str], words: str) -> None:
    with pytest.raises(ClientError, match=words):
        sagemaker.register_devices(DeviceFleetName=fleet, Devices=[device])


def test_devices_and_fleets_come_in_pages(sagemaker: Any, fresh: Callable[[str], str]) -> None:
    prefix = fresh("paged")
    for number in range(3):
        sagemaker.create_device_fleet(DeviceFleetName=f"{prefix}-{number}", OutputConfig=OUTPUT)
    devices = [{"DeviceName": f"d{number:02}"} for number in range(25)]
    sagemaker.register_devices(DeviceFleetName=f"{prefix}-0", Devices=devices)
    pages = list(
        sagemaker.get_paginator("list_devices").paginate(
            DeviceFleetName=f"{prefix}-0", PaginationConfig={"PageSize": 10}
        )
    )
    assert [len(page["DeviceSummaries"]) for page in pages] == [10, 10, 5]
    fleets = [
        each["DeviceFleetName"]
        for page in sagemaker.get_paginator("list_device_fleets").paginate(
            NameContains=prefix, SortBy="NAME", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
        )
        for each in page["DeviceFleetSummaries"]
    ]
    assert fleets == [f"{prefix}-{number}" for number in range(3)]


def test_a_fleet_is_deleted_when_it_is_empty(sagemaker: Any, fleet: str) -> None:
    sagemaker.register_devices(DeviceFleetName=fleet, Devices=[{"DeviceName": "a"}])
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="1 registered devices"):
        sagemaker.delete_device_fleet(DeviceFleetName=fleet)
    sagemaker.deregister_devices(DeviceFleetName=fleet, DeviceNames=["a"])
    sagemaker.delete_device_fleet(DeviceFleetName=fleet)
    with pytest.raises(ClientError, match=r"\(ValidationException\).*No devicefleet with name"):
        sagemaker.describe_device_fleet(DeviceFleetName=fleet)


def test_tags_can_be_changed(sagemaker: Any, fleet: str) -> None:
    arn = sagemaker.describe_device_fleet(DeviceFleetName=fleet)["DeviceFleetArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "emflow:workflow", "Value": "demo"}, {"Key": "x", "Value": ""}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["x"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "emflow:workflow", "Value": "demo"}]
    with pytest.raises(sagemaker.exceptions.ResourceNotFound):
        sagemaker.list_tags(ResourceArn=f"{arn}-that-is-not-there")


def test_the_heartbeat_of_an_agent_is_part_of_its_device(
    client: Callable[..., Any], sagemaker: Any, fleet: str, fresh: Callable[[str], str]
) -> None:
    name, model = fresh("device"), fresh("model")
    sagemaker.register_devices(DeviceFleetName=fleet, Devices=[{"DeviceName": name}])
    device = sagemaker.describe_device(DeviceFleetName=fleet, DeviceName=name)
    assert "LatestHeartbeat" not in device
    seen = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    edge = client("sagemaker-edge")
    models = [{"ModelName": model, "ModelVersion": "1.0", "LatestInference": seen, "LatestSampleTime": seen}]
    before = datetime.now(UTC) - timedelta(seconds=1)
    edge.send_heartbeat(AgentVersion="1.20210512.96da6cc", DeviceName=name, DeviceFleetName=fleet, Models=models)
    device = sagemaker.describe_device(DeviceFleetName=fleet, DeviceName=name)
    assert before < device["LatestHeartbeat"]
    assert device["AgentVersion"] == "1.20210512.96da6cc"
    assert [(each["ModelName"], each["LatestInference"]) for each in device["Models"]] == [(model, seen)]
    assert names(sagemaker.list_devices(LatestHeartbeatAfter=before, ModelName=model)) == [name]
    assert names(sagemaker.list_devices(LatestHeartbeatAfter=datetime.now(UTC) + timedelta(hours=1))) == []


@pytest.mark.parametrize("call", ["get_deployments", "get_device_registration"])
def test_what_agents_call_and_is_not_there_is_refused_by_name(
    client: Callable[..., Any], fleet: str, call: str
) -> None:
    with pytest.raises(ClientError, match=r"the embedded AWS does not have Get[A-Za-z]+ of sagemaker-edge") as refused:
        getattr(client("sagemaker-edge"), call)(DeviceName="device", DeviceFleetName=fleet)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_a_heartbeat_of_an_unknown_device_is_refused(client: Callable[..., Any], fleet: str) -> None:
    with pytest.raises(ClientError, match="No device with name unknown found"):
        client("sagemaker-edge").send_heartbeat(AgentVersion="1", DeviceName="unknown", DeviceFleetName=fleet)
