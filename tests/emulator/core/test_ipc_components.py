"""Secrets, components and metrics over IPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from awsiot.greengrasscoreipc import model

from emflow_emulator.core.secrets import Secret
from emulator.core.ipc_device import IpcTestServer, access, refused
from emulator.core.pieces import lines

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"
READS = access("aws.greengrass.SecretManager", ["GetSecretValue"], [ARN])
LOOKS = access("aws.greengrass.Cli", ["ListComponents", "GetComponentDetails"], ["*"])
MEASURES = access("aws.greengrass.ipc.componentmetric", ["PutComponentMetric"], ["*"])


@pytest.fixture
def ipc(tmp_path: Path) -> Iterator[IpcTestServer]:
    both = {"accessControl": READS["accessControl"] | LOOKS["accessControl"] | MEASURES["accessControl"]}
    ipc = IpcTestServer(tmp_path, {"app": both, "aws.app": both, "nobody": {}, "aws.greengrass.SecretManager": {}})
    ipc.device.secrets[ARN] = Secret(ARN, "camera", "v1", ("AWSCURRENT",), '{"username": "u", "password": "p"}')
    yield ipc
    ipc.close()


def test_a_secret_that_access_control_names_is_given(ipc: IpcTestServer) -> None:
    found = ipc.client("app").get_secret_value(secret_id=ARN)

    assert (found.secret_id, found.version_id, found.version_stage) == (ARN, "v1", ["AWSCURRENT"])
    assert found.secret_value.secret_string == '{"username": "u", "password": "p"}'


def test_a_binary_secret_comes_as_bytes(ipc: IpcTestServer) -> None:
    ipc.device.secrets[ARN] = Secret(ARN, "camera", "v1", ("AWSCURRENT",), b"\0\xff")
    assert ipc.client("app").get_secret_value(secret_id=ARN).secret_value.secret_binary == b"\0\xff"


@pytest.mark.parametrize(("who", "secret"), [("nobody", ARN), ("app", f"{ARN}x"), ("app", "camera")])
def test_any_other_secret_is_refused(ipc: IpcTestServer, who: str, secret: str, tmp_path: Path) -> None:
    with refused(model.UnauthorizedError, f"Principal {who} is not authorized"):
        ipc.client(who).get_secret_value(secret_id=secret)
    assert not any("password" in line for line in lines(tmp_path / "greengrass.log"))


def test_a_secret_that_is_not_there_is_not_found(ipc: IpcTestServer) -> None:
    ipc.device.secrets.clear()
    with refused(model.ResourceNotFoundError, "Secret not found"):
        ipc.client("app").get_secret_value(secret_id=ARN)


def test_version_and_stage_exclude_each_other(ipc: IpcTestServer) -> None:
    with refused(model.InvalidArgumentsError, "Both versionId and Stage"):
        ipc.client("app").get_secret_value(secret_id=ARN, version_id="v1", version_stage="AWSCURRENT")


def test_without_the_secret_manager_there_are_no_secrets(ipc: IpcTestServer) -> None:
    app = ipc.client("app")
    ipc.device.deploy({"app": READS})
    with refused(model.ServiceError, "SecretManager is not deployed"):
        app.get_secret_value(secret_id=ARN)


def test_components_and_their_details(ipc: IpcTestServer) -> None:
    app = ipc.client("app")
    assert {each.component_name for each in app.list_components().components} == set(ipc.device.store.all())
    details = app.get_component_details(component_name="nobody").component_details
    assert (details.component_name, details.version, details.state, details.configuration) == (
        "nobody",
        "1.0.0",
        "RUNNING",
        {},
    )
    with pytest.raises(model.ResourceNotFoundError):
        app.get_component_details(component_name="unknown")
    with pytest.raises(model.UnauthorizedError):
        ipc.client("nobody").list_components()


def test_metrics_are_taken_from_components_of_aws_only(ipc: IpcTestServer) -> None:
    metric = model.Metric(name="frames", unit="COUNT", value=3)
    ipc.client("aws.app").put_component_metric(metrics=[metric])
    with pytest.raises(model.UnauthorizedError):
        ipc.client("app").put_component_metric(metrics=[metric])

    assert ipc.device.metrics == [("aws.app", "frames", "COUNT", 3.0)]


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        [model.Metric(name="x" * 33, unit="COUNT", value=1)],
        [model.Metric(name="x", unit="APPLES", value=1)],
        [model.Metric(name="x", unit="COUNT", value=1), model.Metric(name="x", unit="COUNT", value=-1)],
    ],
)
def test_metrics_that_make_no_sense(ipc: IpcTestServer, metrics: list[Any]) -> None:
    with pytest.raises(model.InvalidArgumentsError):
        ipc.client("aws.app").put_component_metric(metrics=metrics)
    assert ipc.device.metrics == []
