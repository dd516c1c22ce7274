"""The secrets that a device holds, fetched from the embedded Secrets Manager itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from emflow_emulator.aws import EmbeddedAws
from emflow_emulator.core.cloud_client import CloudLost
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.secrets import NoSecret, Secrets

PARTIAL = "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera"


@pytest.fixture(scope="module")
def manager() -> Iterator[Any]:
    with EmbeddedAws(port=0) as aws:
        yield boto3.client(
            "secretsmanager",
            endpoint_url=aws.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=aws.credentials.id,
            aws_secret_access_key=aws.credentials.secret,
        )


@pytest.fixture
def arn(manager: Any) -> Iterator[str]:
    """Of a secret with a version before the current one."""
    made: str = manager.create_secret(Name="camera", SecretString="old")["ARN"]
    manager.put_secret_value(SecretId=made, SecretString="new")
    yield made
    manager.delete_secret(SecretId=made, ForceDeleteWithoutRecovery=True)


def wanting(*arns: str, **more: Any) -> dict[str, Any]:
    return {"cloudSecrets": [{"arn": arn, **more} for arn in arns]}


def test_what_the_configuration_names_is_held_and_nothing_else(manager: Any, arn: str) -> None:
    other = manager.create_secret(Name="other", SecretString="x")["ARN"]
    secrets = Secrets(lambda: manager)
    with pytest.raises(NoSecret, match="Secret not found"):
        secrets.get(arn, None, None, True)
    secrets.hold(secrets.fetch(wanting(arn)))

    for name in (arn, arn[:-7], "camera"):
        assert secrets.get(name, None, None, False).value == "new"
    for refresh in (True, False):
        with pytest.raises(NoSecret, match="Secret not found"):
            secrets.get(other, None, None, refresh)
    secrets.hold(secrets.fetch({}))
    with pytest.raises(NoSecret):
        secrets.get(arn, None, None, False)


def test_stages_and_versions(manager: Any, arn: str) -> None:
    secrets = Secrets(lambda: manager)
    secrets.hold(secrets.fetch(wanting(arn, labels=["AWSPREVIOUS"])))
    old = secrets.get(arn, None, "AWSPREVIOUS", False)

    assert (old.value, old.stages) == ("old", ("AWSPREVIOUS",))
    assert secrets.get(arn, old.version, None, False) == old
    assert secrets.get(arn, None, None, False).value == "new"
    for version, stage in (("nonsense", None), (None, "OTHER")):
        with pytest.raises(NoSecret, match="not found for secret"):
            secrets.get(arn, version, stage, False)


def test_a_refresh_asks_the_cloud_and_is_content_with_what_is_held(manager: Any, arn: str) -> None:
    client = manager

    def connect() -> Any:
        if client is None:
            raise CloudLost("gone")
        return client

    secrets = Secrets(connect)
    secrets.hold(secrets.fetch(wanting(arn)))
    manager.put_secret_value(SecretId=arn, SecretString="newer")
    assert secrets.get(arn, None, None, False).value == "new"
    assert secrets.get(arn, None, None, True).value == "newer"
    client = None
    assert secrets.get(arn, None, None, True).value == "newer"


def test_a_secret_that_holds_bytes(manager: Any) -> None:
    arn = manager.create_secret(Name="bytes", SecretBinary=b"\0\xff")["ARN"]
    secrets = Secrets(lambda: manager)
    secrets.hold(secrets.fetch(wanting(arn)))

    assert secrets.get(arn, None, None, False).value == b"\0\xff"


def test_no_text_of_it_has_the_value(manager: Any, arn: str) -> None:
    secrets = Secrets(lambda: manager)
    held = secrets.fetch(wanting(arn))
    assert "new" not in repr(held)


def test_one_that_is_not_there_fails_with_its_name(manager: Any) -> None:
    with pytest.raises(DeploymentFailure, match="secret:nothing") as caught:
        Secrets(lambda: manager).fetch(wanting(PARTIAL.replace("camera", "nothing")))
    assert caught.value.stack == ["DEPLOYMENT_FAILURE", "CLOUD_API_ERROR", "RESOURCE_NOT_FOUND"]


@pytest.mark.parametrize("entries", ["arn", ["arn"], [{}], [{"arn": 5}], [{"arn": "x", "labels": "AWSCURRENT"}]])
def test_a_configuration_of_another_shape_fails(manager: Any, entries: Any) -> None:
    with pytest.raises(DeploymentFailure, match=r"cloudSecrets of aws\.greengrass\.SecretManager"):
        Secrets(lambda: manager).fetch({"cloudSecrets": entries})


def test_without_credentials_only_no_secrets_can_be_fetched() -> None:
    def lost() -> Any:
        raise CloudLost("there is no IoT role alias in this account")

    assert Secrets(lost).fetch({}).secrets == ()
    with pytest.raises(DeploymentFailure, match="no IoT role alias"):
        Secrets(lost).fetch(wanting(PARTIAL))
