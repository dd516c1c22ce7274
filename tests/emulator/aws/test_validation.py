"""Requests are held against the service models: what boto3 would let through, and what it would not."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from emflow_emulator.aws import EmbeddedAws
from emulator.aws.pieces import signed

FLEET = {"DeviceFleetName": "fleet", "OutputConfig": {"S3OutputLocation": "s3://bucket/"}}


def refusal(call: Callable[..., Any], **params: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as refused:
        call(**params)
    return dict(refused.value.response)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"OutputConfig": FLEET["OutputConfig"]}, "Value null at 'deviceFleetName'"),
        ({"DeviceFleetName": "fleet", "OutputConfig": {}}, "Value null at 'outputConfig.s3OutputLocation'"),
        ({**FLEET, "DeviceFleetName": "has_underscore"}, "regular expression pattern"),
        ({**FLEET, "DeviceFleetName": "a" * 64}, "length less than or equal to 63"),
        ({**FLEET, "RoleArn": "too-short"}, "length greater than or equal to 20"),
        ({**FLEET, "Tags": [{"Key": "k", "Value": "v#"}]}, "Value 'v#' at 'tags.1.member.value'"),
        (
            {**FLEET, "OutputConfig": {"S3OutputLocation": "s3://b", "PresetDeploymentType": "Other"}},
            r"enum value set: \[GreengrassV2Component\]",
        ),
        ({**FLEET, "DeviceFleetName": 7}, "must be of type string"),
    ],
)
def test_sagemaker_refuses(client: Callable[..., Any], params: dict[str, Any], words: str) -> None:
    call = client("sagemaker", checked=False).create_device_fleet
    with pytest.raises(ClientError, match=words) as refused:
        call(**params)
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_all_that_is_wrong_is_said_at_once(client: Callable[..., Any]) -> None:
    call = client("sagemaker", checked=False).create_device_fleet
    message = refusal(call, DeviceFleetName="no_good", OutputConfig={})["Error"]["Message"]
    assert message.startswith("2 validation errors detected: ")


def test_a_number_out_of_range_is_refused(client: Callable[..., Any]) -> None:
    answer = refusal(client("greengrassv2", checked=False).list_components, maxResults=101)
    assert "value less than or equal to 100" in answer["Error"]["Message"]


def test_greengrass_names_the_fields(client: Callable[..., Any]) -> None:
    answer = refusal(client("greengrassv2", checked=False).create_deployment, targetArn="thing/x")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["Error"]["Code"] == "ValidationException"
    assert answer["reason"] == "FIELD_VALIDATION_FAILED"
    assert [field["name"] for field in answer["fields"]] == ["targetArn"]


def test_a_wrong_enum_in_a_query_is_refused(client: Callable[..., Any]) -> None:
    answer = refusal(client("greengrassv2").list_components, scope="ALL")
    assert "[PRIVATE, PUBLIC]" in answer["Error"]["Message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"Devices": 3, "DeviceFleetName": "f"}'])
def test_a_body_that_does_not_fit_is_refused(aws: EmbeddedAws, body: bytes) -> None:
    headers = {"X-Amz-Target": "SageMaker.RegisterDevices", "Content-Type": "application/x-amz-json-1.1"}
    request = signed(f"{aws.endpoint_url}/", body, aws.credentials, "sagemaker", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400
    assert json.load(refused.value)["__type"] in ("SerializationException", "ValidationException")
