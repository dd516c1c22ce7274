"""The embedded cloud with a device on it, and what a person does from the outside: publish components, deploy, look."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest

from emflow_emulator.access import Access
from emflow_emulator.aws import EmbeddedAws
from emflow_emulator.broker import Broker
from emflow_emulator.core import cloud_client, nucleus, supervisor
from emflow_emulator.core.nucleus import Nucleus
from emulator.core.pieces import recipe
from emulator.core.world import World
from support import until

BUCKET = "component-artifacts"
_names = count(1)


class Cloud:
    """The embedded AWS and the broker, as somebody with credentials sees them."""

    def __init__(self, aws: EmbeddedAws, broker: Broker) -> None:
        session = boto3.Session(aws.credentials.id, aws.credentials.secret, region_name="us-east-1")
        self.endpoint_url = aws.endpoint_url
        self.mqtt_port = broker.port
        self.broker = broker
        self.access = Access(aws.credentials, broker.user)
        clients: list[Any] = [
            session.client(service, endpoint_url=aws.endpoint_url) for service in ("s3", "iot", "iam", "greengrassv2")
        ]
        self.s3, self.iot, self.iam, self.greengrass = clients
        self.s3.create_bucket(Bucket=BUCKET)

    def put(self, key: str, files: Mapping[str, str], mode: int = 0o600) -> str:
        """A zip of these files, which have this mode in it; its URI."""
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for name, text in files.items():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = mode << 16
                archive.writestr(entry, text)
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data.getvalue())
        return f"s3://{BUCKET}/{key}"

    def component(self, name: str, version: str = "1.0.0", **more: Any) -> str:
        """Make a component version and wait until it can be deployed; its name."""
        document = recipe(name, version, **more)
        arn = self.greengrass.create_component_version(inlineRecipe=json.dumps(document).encode())["arn"]
        until(lambda: self.greengrass.describe_component(arn=arn)["status"]["componentState"] == "DEPLOYABLE")
        return name

    def deploy(self, target: str, /, policy: Any = "ROLLBACK", **components: Any) -> str:
        """Deploy `name="1.0.0"` or `name={"componentVersion": …}`; the deployment's id."""
        wanted = {
            name: {"componentVersion": each} if isinstance(each, str) else each for name, each in components.items()
        }
        answer = self.greengrass.create_deployment(
            targetArn=target, components=wanted, deploymentPolicies={"failureHandlingPolicy": policy}
        )
        return str(answer["deploymentId"])

    def outcome(self, thing: str, deployment: str) -> dict[str, Any]:
        """Wait until the device is done with a deployment; what it says of it."""

        def found() -> dict[str, Any]:
            listed = self.greengrass.list_effective_deployments(coreDeviceThingName=thing)["effectiveDeployments"]
            return next((each for each in listed if each["deploymentId"] == deployment), {})

        until(lambda: found().get("coreDeviceExecutionStatus") in ("SUCCEEDED", "FAILED"), what="the deployment's end")
        return found()

    def devices(self) -> set[tuple[str, str]]:
        """Core devices that the cloud has heard of, and whether they are healthy."""
        listed = self.greengrass.list_core_devices()["coreDevices"]
        return {(each["coreDeviceThingName"], each["status"]) for each in listed}

    def installed(self, thing: str) -> dict[str, tuple[str, str]]:
        """Components with their versions and states."""
        listed = self.greengrass.list_installed_components(coreDeviceThingName=thing, topologyFilter="ALL")
        return {
            each["componentName"]: (each["componentVersion"], each["lifecycleState"])
            for each in listed["installedComponents"]
        }


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that looks more often and waits less long, for the sake of the tests' time."""
    monkeypatch.setattr(nucleus, "_POLL", 0.05)
    monkeypatch.setattr(cloud_client, "_GROUPS_EVERY", 0.2)
    monkeypatch.setattr(supervisor, "_SETTLED", 0.2)


@pytest.fixture
def about_to_fail(brisk: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """To be called before a script is started that fails: what a busy machine has not ended soon counts as started."""
    return lambda: monkeypatch.setattr(supervisor, "_SETTLED", 5.0)


@pytest.fixture
def world(tmp_path: Path, brisk: None) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(port=0, job_seconds=0.2) as aws, Broker() as broker:
        yield Cloud(aws, broker)


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder with a short path, as a Unix socket needs it."""
    folder = Path(tempfile.mkdtemp(prefix="core-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def make_device(cloud: Cloud, root: Path, brisk: None) -> Iterator[Callable[..., Nucleus]]:
    """Start a device with a thing of its own."""
    started: list[Nucleus] = []

    def make(**more: Any) -> Nucleus:
        options: dict[str, Any] = {"thing": f"core-{next(_names)}", "root": root} | more
        where: dict[str, Any] = {
            "endpoint_url": cloud.endpoint_url,
            "mqtt": ("127.0.0.1", cloud.mqtt_port),
            "access": cloud.access,
        }
        device = Nucleus(**where | options)
        device.arn = device.start()  # type: ignore[attr-defined]
        started.append(device)
        return device

    yield make
    for device in started:
        device.stop()


@pytest.fixture
def device(make_device: Callable[..., Nucleus]) -> Nucleus:
    return make_device()
