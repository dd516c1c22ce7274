"""Secrets on the whole device: from Secrets Manager, through a deployment, to a component that asks over IPC."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from emulator.core.conftest import Cloud
from emulator.core.ipc_device import access
from emulator.core.pieces import lines
from support import until

pytestmark = pytest.mark.e2e

MANAGER = "aws.greengrass.SecretManager"
ASK = """
import sys, time
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc.model import UnauthorizedError
client = GreengrassCoreIPCClientV2()
mine, other = client.get_configuration(key_path=["secrets"]).value["secrets"]
found = client.get_secret_value(secret_id=mine).secret_value.secret_string
try:
    client.get_secret_value(secret_id=other)
except UnauthorizedError:
    print("refused", file=open("log", "a"))
print(found, file=open("log", "a"))
time.sleep(600)
"""


@pytest.fixture
def secret(cloud: Cloud) -> Callable[[str], str]:
    """Make a secret with a value; its ARN."""
    manager = boto3.client(
        "secretsmanager",
        endpoint_url=cloud.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=cloud.access.key.id,
        aws_secret_access_key=cloud.access.key.secret,
    )

    def make(value: str) -> str:
        arn: str = manager.create_secret(Name=f"s-{len(manager.list_secrets()['SecretList'])}", SecretString=value)[
            "ARN"
        ]
        return arn

    return make


@pytest.fixture
def device(cloud: Cloud, make_device: Callable[..., Any]) -> Any:
    if not any(alias == "secrets" for alias in cloud.iot.list_role_aliases()["roleAliases"]):
        role = cloud.iam.create_role(RoleName="role-secrets", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        cloud.iot.create_role_alias(roleAlias="secrets", roleArn=role)
    return make_device(role_alias="secrets")


def manager(*arns: str) -> dict[str, Any]:
    update = {"merge": json.dumps({"cloudSecrets": [{"arn": arn} for arn in arns]})}
    return {"componentVersion": "2.1.8", "configurationUpdate": update}


def test_a_component_gets_the_secret_that_is_its_own_and_nothing_of_it_is_written(
    cloud: Cloud, device: Any, secret: Callable[[str], str]
) -> None:
    mine, other = secret("mine, q7f3a"), secret("other, q7f3a")
    uri = cloud.put("ask/ask.zip", {"ask.py": ASK})
    cloud.component(
        "ask",
        artifacts=[{"URI": uri, "Unarchive": "ZIP"}],
        dependencies={MANAGER: ">=2.0.0"},
        defaults={"secrets": [mine, other]} | access(MANAGER, ["GetSecretValue"], [mine]),
        lifecycle={"run": 'exec python3 -u "{artifacts:decompressedPath}/ask/ask.py"'},
    )
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{"ask": "1.0.0", MANAGER: manager(mine, other)}))
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED", outcome
    assert cloud.installed(device.thing)[MANAGER] == ("2.1.8", "RUNNING")
    log = device.layout.work("ask") / "log"
    until(lambda: lines(log) == ["refused", "mine, q7f3a"])

    files: list[Path] = [each for each in device.layout.root.glob("**/*") if each.is_file() and each != log]
    assert files
    assert not [each for each in files if b"q7f3a" in each.read_bytes()]


def test_a_secret_that_is_not_there_fails_the_deployment_with_its_name(cloud: Cloud, device: Any) -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:nobody-AbCdEf"
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{MANAGER: manager(arn)}))

    assert outcome["coreDeviceExecutionStatus"] == "FAILED"
    assert outcome["reason"].startswith(f"FAILED_NO_STATE_CHANGE: Cannot fetch secret {arn}")
    assert outcome["statusDetails"]["errorStack"][-1] == "RESOURCE_NOT_FOUND"


def test_a_new_secret_restarts_nobody(cloud: Cloud, device: Any, secret: Callable[[str], str]) -> None:
    first, second = secret("first"), secret("second")
    cloud.component(
        "stays", dependencies={MANAGER: ">=2.0.0"}, lifecycle={"run": 'echo "up $$" >> log; exec sleep 600'}
    )
    for arns in ((first,), (first, second)):
        wanted = {"stays": "1.0.0", MANAGER: manager(*arns)}
        outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **wanted))
        assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"

    assert device.secret(second, None, None, False).value == "second"
    assert len(lines(device.layout.work("stays") / "log")) == 1
