"""Secrets, components and metrics over IPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from awsiot.greengrasscoreipc import model

from emflow_emulator.core.secrets import Secret
from emulator.core.ipc_device import Rig, access, refused
from emulator.core.pieces import lines

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera-AbCdEf"
READS = access("aws.greengrass.SecretManager", ["GetSecretValue"], [ARN])
LOOKS = access("aws.greengrass.Cli", ["ListComponents", "GetComponentDetails"], ["*"])
MEASURES = access("aws.greengrass.ipc.componentmetric", ["PutComponentMetric"], ["*"])


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    both = {"accessControl": READS["accessControl"] | LOOKS["accessControl"] | MEASURES["accessControl"]}
    rig = Rig(tmp_path, {"app": both, "aws.app": both, "nobody": {}, "aws.greengrass.SecretManager": {}})
    rig.device.secrets[ARN] = Secret(ARN, "camera", "v1", ("AWSCURRENT",), '{"username": "u", "password": "p"}')
    yield rig
    rig.close()


def test_a_secret_that_access_control_names_is_given(rig: Rig) -> None:
    found = rig.client("app").get_secret_value(secret_id=ARN)

    assert (found.secret_id, found.version_id, found.version_stage) == (ARN, "v1", ["AWSCURRENT"])
    assert found.secret_value.secret_string == '{"username": "u", "password": "p"}'


def test_a_binary_secret_comes_as_bytes(rig: Rig) -> None:
    rig.device.secrets[ARN] = Secret(ARN, "camera", "v1", ("AWSCURRENT",), b"\0\xff")
    assert rig.client("app").get_secret_value(secret_id=ARN).secret_value.secret_binary == b"\0\xff"


@pytest.mark.parametrize(("who", "secret"), [("nobody", ARN), ("app", f"{ARN}x"), ("app", "camera")])
def test_any_other_secret_is_refused(rig: Rig, who: str, secret: str, tmp_path: Path) -> None:
    with refused(model.UnauthorizedError, f"Principal {who} is not authorized"):
        rig.client(who).get_secret_value(secret_id=secret)
    assert not any("password" in line for line in lines(tmp_path / "greengrass.log"))


def test_a_secret_that_is_not_there_is_not_found(rig: Rig) -> None:
    rig.device.secrets.clear()
    with refused(model.ResourceNotFoundError, "Secret not found"):
        rig.client("app").get_secret_value(secret_id=ARN)


def test_version_and_stage_exclude_each_other(rig: Rig) -> None:
    with refused(model.InvalidArgumentsError, "Both versionId and Stage"):
        rig.client("app").get_secret_value(secret_id=ARN, version_id="v1", version_stage="AWSCURRENT")


def test_without_the_secret_manager_there_are_no_secrets(rig: Rig) -> None:
    app = rig.client("app")
    rig.device.deploy({"app": READS})
    with refused(model.ServiceError, "SecretManager is not deployed"):
        app.get_secret_value(secret_id=ARN)


def test_components_and_their_details(rig: Rig) -> None:
    app = rig.client("app")
    assert {each.component_name for each in app.list_components().components} == set(rig.device.store.all())
    details = app.get_component_details(component_name="nobody").component_details
    assert (details.component_name, details.version, details.state, details.configuration) == (
        "nobody",
        "1.0.0",
        "RUNNING",
        {},
    )
    with pytest.raises(model.ResourceNotFoundError):
        app.get_component_details(component_name="stranger")
    with pytest.raises(model.UnauthorizedError):
        rig.client("nobody").list_components()


def test_metrics_are_taken_from_components_of_aws_only(rig: Rig) -> None:
    metric = model.Metric(name="frames", unit="COUNT", value=3)
    rig.client("aws.app").put_component_metric(metrics=[metric])
    with pytest.raises(model.UnauthorizedError):
        rig.client("app").put_component_metric(metrics=[metric])

    assert rig.device.metrics == [("aws.app", "frames", "COUNT", 3.0)]


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        [model.Metric(name="x" * 33, unit="COUNT", value=1)],
        [model.Metric(name="x", unit="APPLES", value=1)],
        [model.Metric(name="x", unit="COUNT", value=1), model.Metric(name="x", unit="COUNT", value=-1)],
    ],
)
def test_metrics_that_make_no_sense(rig: Rig, metrics: list[Any]) -> None:
    with pytest.raises(model.InvalidArgumentsError):
        rig.client("aws.app").put_component_metric(metrics=metrics)
    assert rig.device.metrics == []
