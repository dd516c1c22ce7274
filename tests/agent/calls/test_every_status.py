"""Every call and every status of the interface, met by a client of nothing but protoc's output of our .proto."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.capture.buffer import CaptureBuffer
from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.errors import InferenceFailed
from emflow_agent.models.integrity import read_trusted_keys
from emflow_agent.models.store import ModelStore
from signed_packages import new_key, public_pem

PROTO = Path(__file__).parents[3] / "proto" / "emflow_proto" / "agent.proto"
SIZE = 224 * 224 * 3

# What the interface promises beside OK.
TABLE = {
    "Predict": {"NOT_FOUND", "INVALID_ARGUMENT", "INTERNAL"},
    "LoadModel": {"NOT_FOUND", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "INVALID_ARGUMENT"},
    "UnLoadModel": {"NOT_FOUND"},
    "DescribeModel": {"NOT_FOUND"},
    "CaptureData": {
        *("ALREADY_EXISTS", "RESOURCE_EXHAUSTED", "OUT_OF_RANGE"),
        *("INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND"),
    },
    "GetCaptureDataStatus": {"NOT_FOUND"},
}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """protoc's own Python code for our .proto."""
    folder = tmp_path_factory.mktemp("generated")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO.parent}", f"--python_out={folder}"]
    subprocess.run([*command, f"--grpc_python_out={folder}", str(PROTO)], check=True)
    sys.path.insert(0, str(folder))
    try:
        pb, stubs = importlib.import_module("agent_pb2"), importlib.import_module("agent_pb2_grpc")
        yield SimpleNamespace(pb=pb, stub=stubs.AgentStub)
    finally:
        sys.path.remove(str(folder))
        for name in ("agent_pb2", "agent_pb2_grpc"):
            sys.modules.pop(name, None)


class World:
    """An agent that captures to disk and has `scenes` loaded, a client of it, and how to get others."""

    def __init__(self, generated: SimpleNamespace, folder: Path, tmp_path: Path, opened: ExitStack) -> None:
        self.pb, self._stub, self.folder, self._tmp_path, self._opened = (
            *(generated.pb, generated.stub),
            *(folder, tmp_path, opened),
        )
        self.store = ModelStore(threads=1)
        # A batch and a period that never come, so that what is handed over stays in the buffer.
        settings = CaptureSettings(
            fleet="f", to_cloud=False, folder=tmp_path / "captures", buffer_bytes=1000, push_period=3600
        )
        self.agent = self.client(self.store, settings)
        self.load("scenes")

    def client(self, store: ModelStore, settings: CaptureSettings | None = None) -> Any:
        address = self._tmp_path / f"{uuid.uuid4().hex[:8]}.sock"
        capturing = CaptureBuffer(settings or CaptureSettings())
        capturing.open()
        capturing.start()
        self._opened.callback(capturing.close, 5.0)
        self._opened.enter_context(serving(AgentService(store, capturing), address, False, grace=5.0))
        return self._stub(self._opened.enter_context(grpc.insecure_channel(f"unix:{address}")))

    def load(self, name: str, url: object = None, agent: Any = None) -> Any:
        return (agent or self.agent).LoadModel(self.pb.LoadModelRequest(url=str(url or self.folder), name=name))

    def predict(self, size: int = SIZE, name: str = "scenes", **metadata: object) -> Any:
        tensor = self.pb.Tensor(tensor_metadata=self.pb.TensorMetadata(**metadata), byte_data=bytes(size))
        return self.agent.Predict(self.pb.PredictRequest(name=name, tensors=[tensor]))

    def capture(self, agent: Any = None, capture_id: str = "", ahead: float = 0.0, **more: object) -> str:
        chosen = capture_id or str(uuid.uuid4())
        at = self.pb.Timestamp(seconds=int(time.time() + ahead))
        note = self.pb.AuxilaryData(name="note", byte_data=b"x" * 600)
        request = {"model_name": "scenes", "inference_timestamp": at, "inputs": [note], **more}
        (agent or self.agent).CaptureData(self.pb.CaptureDataRequest(capture_id=chosen, **request))
        return chosen


@pytest.fixture
def world(generated: SimpleNamespace, folder: Path, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as opened:
        yield World(generated, folder, tmp_path, opened)


def twice(act: Callable[[], object]) -> None:
    act()
    act()


def fails_to_run(world: World) -> None:
    class Broken:
        def run(self, arrays: object) -> Any:
            raise InferenceFailed("the driver is gone")

    world.store.get("scenes")._runtime = cast("Any", Broken())
    world.predict()


def not_enough_memory(world: World) -> None:
    world.load("b", agent=world.client(ModelStore(threads=1, memory_limit=1)))


def unsigned(world: World) -> None:
    trust = read_trusted_keys("TrustKeys", [public_pem(new_key())])
    world.load("b", agent=world.client(ModelStore(threads=1, trust=trust)))


def nowhere_to_store(world: World) -> None:
    world.capture(world.client(world.store, CaptureSettings(fleet="f", to_cloud=True)))


def damaged(world: World) -> None:
    next(world.folder.iterdir()).write_bytes(b"this is no model")
    world.load("b")


def same_id_twice(world: World) -> None:
    chosen = world.capture(inputs=[world.pb.AuxilaryData(byte_data=b"x")])
    world.capture(capture_id=chosen, inputs=[world.pb.AuxilaryData(byte_data=b"x")])


CASES: list[tuple[str, str, Callable[[World], object]]] = [
    ("Predict", "NOT_FOUND", lambda w: w.predict(name="others")),
    ("Predict", "INVALID_ARGUMENT", lambda w: w.predict(name="scenes", size=7)),
    ("Predict", "INTERNAL", fails_to_run),
    ("LoadModel", "NOT_FOUND", lambda w: w.load("b", "/no/such/folder")),
    ("LoadModel", "ALREADY_EXISTS", lambda w: w.load("scenes")),
    ("LoadModel", "RESOURCE_EXHAUSTED", not_enough_memory),
    ("LoadModel", "FAILED_PRECONDITION", damaged),
    ("LoadModel", "FAILED_PRECONDITION", unsigned),
    ("LoadModel", "INVALID_ARGUMENT", lambda w: w.load("under_score")),
    ("UnLoadModel", "NOT_FOUND", lambda w: w.agent.UnLoadModel(w.pb.UnLoadModelRequest(name="others"))),
    ("DescribeModel", "NOT_FOUND", lambda w: w.agent.DescribeModel(w.pb.DescribeModelRequest(name="others"))),
    ("CaptureData", "ALREADY_EXISTS", same_id_twice),
    ("CaptureData", "RESOURCE_EXHAUSTED", lambda w: twice(w.capture)),
    ("CaptureData", "OUT_OF_RANGE", lambda w: w.capture(ahead=3600)),
    ("CaptureData", "INVALID_ARGUMENT", lambda w: w.capture(capture_id="no/name")),
    ("CaptureData", "INVALID_ARGUMENT", lambda w: w.capture(input_tensors=[w.pb.Tensor(byte_data=b"short")])),
    ("CaptureData", "FAILED_PRECONDITION", nowhere_to_store),
    ("CaptureData", "NOT_FOUND", lambda w: w.capture(model_name="others")),
    (
        *("GetCaptureDataStatus", "NOT_FOUND"),
        lambda w: w.agent.GetCaptureDataStatus(w.pb.GetCaptureDataStatusRequest(capture_id=str(uuid.uuid4()))),
    ),
]


@pytest.mark.parametrize(("call", "code", "provoke"), CASES, ids=[f"{call}-{code}" for call, code, _ in CASES])
def test_a_refusal_has_its_status_and_a_sentence(
    world: World, call: str, code: str, provoke: Callable[[World], object]
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        provoke(world)
    assert caught.value.code().name == code
    assert caught.value.details()
    assert "\n" not in str(caught.value.details())
    # Whatever was refused, the agent and its other calls go on.
    assert len(world.agent.ListModels(world.pb.ListModelsRequest()).models) == 1


def test_every_status_of_every_call_is_provoked_here() -> None:
    provoked: dict[str, set[str]] = {}
    for call, code, _ in CASES:
        provoked.setdefault(call, set()).add(code)
    assert provoked == TABLE


def test_a_session_from_load_to_unload(world: World) -> None:
    pb, agent = world.pb, world.agent
    described = agent.DescribeModel(pb.DescribeModelRequest(name="scenes")).model
    assert agent.ListModels(pb.ListModelsRequest()).models[0] == described
    (given,) = world.predict(name="scenes", data_type=pb.FLOAT32, shape=[1, 224, 224, 3]).tensors
    # The workshop's client: an output shape that is not the model's, under the model's own number of bytes.
    sloppy = pb.Tensor(tensor_metadata=pb.TensorMetadata(shape=[1, 257]), byte_data=given.byte_data)
    capture_id = world.capture(inputs=[], output_tensors=[sloppy])
    status = agent.GetCaptureDataStatus(pb.GetCaptureDataStatusRequest(capture_id=capture_id)).status
    assert status == pb.CaptureDataStatus.Value("IN_PROGRESS")
    agent.UnLoadModel(pb.UnLoadModelRequest(name="scenes"))
    assert not agent.ListModels(pb.ListModelsRequest()).models
