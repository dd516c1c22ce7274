"""The embedded S3 behind a network that can be cut, and agents in this process that capture."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import grpc
import pytest

from agent.capture.s3_proxy import KEY_ID, KEY_SECRET, S3Proxy, StoredCaptures
from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.capture.buffer import CaptureBuffer
from emflow_agent.capture.retries import RetryPause
from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.models.store import ModelStore
from emflow_proto import messages as m
from emflow_proto.service import AgentStub

FLEET, DEVICE = "orchard", "board-1"
PICTURE = 224 * 224 * 3
_numbers = count(1)


def request(data: bytes = b"", name: str = "scenes", **more: Any) -> m.CaptureDataRequest:
    """A CaptureData request as a client of the model that the repository ships makes it."""
    fields = {"model_name": name, "capture_id": str(uuid.uuid4())} | more
    fields.setdefault("input_tensors", [m.Tensor(byte_data=data or bytes(PICTURE))])
    return m.CaptureDataRequest(**fields)


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an embedded AWS, in a process of its own."""
    from emflow_emulator.access import Access, AccessKey, BrokerUser
    from emflow_emulator.child import Child

    folder = tmp_path_factory.mktemp("cloud")
    Access(AccessKey(KEY_ID, KEY_SECRET), BrokerUser.new()).write(folder / "access.json")
    arguments = ["--port", "0", "--access", str(folder / "access.json")]
    child = Child("cloud", "emflow_emulator.cloud", arguments, folder / "cloud.log")
    yield child.ready()["endpoint_url"]
    child.stop()


@pytest.fixture(scope="session")
def s3(cloud: str) -> Any:
    """S3 without a network in between."""
    return boto3.Session(KEY_ID, KEY_SECRET, region_name="us-east-1").client("s3", endpoint_url=cloud)


@pytest.fixture
def bucket(s3: Any) -> StoredCaptures:
    name = f"sagemaker-captures-{next(_numbers)}"
    s3.create_bucket(Bucket=name)
    return StoredCaptures(s3, name)


@pytest.fixture
def network(cloud: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    """The way to the embedded AWS, which this process's boto3 and what it starts take."""
    place = urlsplit(cloud)
    network = S3Proxy((place.hostname or "", place.port or 0))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", network.url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY_SECRET)
    yield network
    network.down()


@pytest.fixture
def capturing(tmp_path: Path) -> Iterator[Callable[..., CaptureBuffer]]:
    """Start capturing with settings; brisk, for the sake of the tests' time."""
    started: list[CaptureBuffer] = []

    def make(**settings: Any) -> CaptureBuffer:
        given: dict[str, Any] = {
            "fleet": FLEET,
            "device": DEVICE,
            "push_period": 0.05,
            "batch": 3,
            "buffer": 9,
            "upload_period": 0.1,
        }
        one = CaptureBuffer(CaptureSettings(**(given | settings)), retry_pause=lambda: RetryPause(0.02, 0.1))
        one.open()
        one.start()
        started.append(one)
        return one

    yield make
    for one in started:
        one.close(5.0)


@pytest.fixture
def agent(
    tmp_path: Path, scenes_model: Path, capturing: Callable[..., CaptureBuffer]
) -> Iterator[Callable[..., AgentStub]]:
    """An agent in this process that captures with these settings, with a model loaded as `scenes`; a client of it."""
    with ExitStack() as opened:

        def make(**settings: Any) -> AgentStub:
            socket = tmp_path / f"{next(_numbers)}.sock"
            service = AgentService(ModelStore(threads=1), capturing(**settings))
            opened.enter_context(serving(service, socket, clean_stale_socket=False, grace=5.0))
            stub = AgentStub(opened.enter_context(grpc.insecure_channel(f"unix:{socket}")))
            folder = tmp_path / "scenes"
            folder.mkdir(exist_ok=True)
            (folder / scenes_model.name).write_bytes(scenes_model.read_bytes())
            stub.LoadModel(m.LoadModelRequest(url=str(folder), name="scenes"))
            return stub

        yield make


def status(stub: AgentStub, capture_id: str) -> m.CaptureDataStatus:
    answer = stub.GetCaptureDataStatus(m.GetCaptureDataStatusRequest(capture_id=capture_id))
    return m.CaptureDataStatus(answer.status)
