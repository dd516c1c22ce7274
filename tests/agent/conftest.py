"""An agent in this process, for what needs no process of its own, and the model that the repository ships."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import grpc
import pytest

from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.models.store import ModelStore
from emflow_proto import messages as m
from emflow_proto.service import AgentStub


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[AgentStub]:
    """A client of an agent that has loaded nothing yet."""
    socket = tmp_path / "a.sock"
    with (
        serving(AgentService(ModelStore(threads=1)), socket, clean_stale_socket=False, grace=5.0),
        grpc.insecure_channel(f"unix:{socket}") as channel,
    ):
        yield AgentStub(channel)


@pytest.fixture
def folder(tmp_path: Path, scenes_model: Path) -> Path:
    """A folder with nothing but the model in it."""
    made = tmp_path / "model"
    made.mkdir()
    shutil.copy(scenes_model, made)
    return made


@pytest.fixture
def scenes(stub: AgentStub, folder: Path) -> m.Model:
    """That model, loaded as `scenes`."""
    return stub.LoadModel(m.LoadModelRequest(url=str(folder), name="scenes")).model


@pytest.fixture(scope="session")
def photograph(shared_data: Path) -> Callable[[str], bytes]:
    """A photograph as MobileNetV2 takes it: stretched to 224 x 224, RGB, uint8."""

    def read(name: str) -> bytes:
        picture = cv2.imread(str(shared_data / "images" / name))
        assert picture is not None
        return cv2.cvtColor(cv2.resize(picture, (224, 224)), cv2.COLOR_BGR2RGB).tobytes()

    return read


@pytest.fixture
def mobilenet(stub: AgentStub, shared_data: Path) -> m.Model:
    """The workshop's model, loaded under the workshop's name."""
    request = m.LoadModelRequest(url=str(shared_data / "models"), name="mobilenetv2-224-10-quant")
    return stub.LoadModel(request).model


@pytest.fixture(scope="session")
def refused() -> Callable[[Callable[..., object]], tuple[grpc.StatusCode, str]]:
    """Make a call that has to be refused; its status and message."""

    def make(call: Callable[..., object]) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        return caught.value.code(), str(caught.value.details())

    return make
