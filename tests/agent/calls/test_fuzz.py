"""Whatever clients send: an answer or a refusal, the agent goes on, and nothing is left behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.models.store import ModelStore
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_proto.shared_memory import SharedBuffer
from support import until, zip_strict

SIZE = 224 * 224 * 3
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
}

# The agent is this process' own, so that a run of many calls takes a moment; it is one for all examples.
THOROUGH = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal_of(call: grpc.UnaryUnaryMultiCallable, request: object) -> grpc.RpcError | None:
    try:
        call(request, timeout=20)
    except grpc.RpcError as refusal:
        return refusal
    return None


class Agent:
    """An agent that has `scenes` loaded, its channel, and a segment of shared memory that it may read."""

    def __init__(self, channel: grpc.Channel, folder: Path, buffer: SharedBuffer) -> None:
        self.channel, self.stub, self.folder, self.buffer = channel, AgentStub(channel), folder, buffer
        self.stub.LoadModel(m.LoadModelRequest(url=str(folder), name="scenes"))
        self.picture = m.PredictRequest(name="scenes", tensors=[m.Tensor(byte_data=bytes(SIZE))])
        self.expected = self.stub.Predict(self.picture)

    def answers(self, call: grpc.UnaryUnaryMultiCallable, request: object) -> None:
        """Make a call that may be refused, for a reason that a client can act on."""
        refusal = refusal_of(call, request)
        assert refusal is None or (refusal.code() in REFUSALS and refusal.details()), refusal

    def is_well(self) -> None:
        assert self.stub.Predict(self.picture, timeout=20) == self.expected


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, scenes_model: Path) -> Iterator[Agent]:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "model").mkdir()
    (folder / "model" / "scenes.tflite").write_bytes(scenes_model.read_bytes())
    buffer = SharedBuffer(SIZE)
    with (
        serving(AgentService(ModelStore(threads=1)), folder / "a.sock", clean_stale_socket=False, grace=5.0),
        grpc.insecure_channel(f"unix:{folder / 'a.sock'}") as channel,
    ):
        yield Agent(channel, folder / "model", buffer)
    buffer.close()


U64 = st.integers(0, 2**64 - 1)
SIZES = st.sampled_from([0, 1, SIZE - 1, SIZE, SIZE + 1, 2**32, 2**64 - 1]) | U64
METADATA = st.builds(
    m.TensorMetadata,
    name=st.binary(max_size=20) | st.sampled_from([b"", b"serving_default_input:0"]),
    data_type=st.integers(-(2**31), 2**31 - 1) | st.integers(0, 7),
    shape=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6),
)
NAMES = st.sampled_from(["scenes", "others", ""]) | st.text(max_size=300)


def tensors(agent: Agent) -> st.SearchStrategy[m.Tensor]:
    ours = agent.buffer.handle.segment_id
    segments = st.sampled_from([ours, ours + 1, 2**31, 2**32 + ours]) | U64
    handles = st.builds(m.SharedMemoryHandle, size=SIZES, offset=SIZES, segment_id=segments)
    data = st.binary(max_size=100) | st.sampled_from([bytes(SIZE), bytes(SIZE - 1)])
    return st.one_of(
        st.builds(m.Tensor, tensor_metadata=st.none() | METADATA, byte_data=data),
        st.builds(m.Tensor, tensor_metadata=st.none() | METADATA, shared_memory_handle=handles),
        st.builds(m.Tensor, tensor_metadata=st.none() | METADATA),
    )


def held() -> tuple[int, int]:
    """What this process holds: open files, and attached segments of shared memory."""
    maps = Path("/proc/self/maps").read_text()
    return len(list(Path("/proc/self/fd").iterdir())), maps.count("/SYSV")


def nothing_is_left(before: tuple[int, int]) -> None:
    """No more than before; what earlier tests left may go meanwhile."""
    until(lambda: all(now <= then for now, then in zip_strict(held(), before)), what="what was held before")


@THOROUGH
@given(data=st.data())
def test_any_predict_is_answered_or_refused(agent: Agent, data: st.DataObject) -> None:
    request = m.PredictRequest(name=data.draw(NAMES), tensors=data.draw(st.lists(tensors(agent), max_size=3)))
    before = held()
    agent.answers(agent.stub.Predict, request)
    agent.is_well()
    nothing_is_left(before)


@THOROUGH
@given(content=st.binary(max_size=200), call=st.sampled_from(list(m.CALLS)))
def test_bytes_that_are_no_message_harm_nobody(agent: Agent, content: bytes, call: str) -> None:
    raw = agent.channel.unary_unary(f"/{m.SERVICE}/{call}", None, None)
    refusal = refusal_of(raw, content)
    assert refusal is None or refusal.code() in REFUSALS, refusal
    agent.is_well()


URLS = st.one_of(
    st.text(max_size=300),
    st.sampled_from(["/", "/dev", "/proc/self", "/proc/self/fd", "/dev/shm", ".", "..", "/dev/null", "//", "~"]),
    st.lists(st.sampled_from(["..", ".", "tmp", "proc", "self", "fd", "a\0b", "%2e", "\udcff", "é"]), max_size=8).map(
        lambda parts: "/" + "/".join(parts).replace("\udcff", "\ufffd")
    ),
)


@THOROUGH
@given(url=URLS, name=NAMES | st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*", fullmatch=True).map(lambda n: n[:256]))
def test_any_load_is_answered_or_refused(agent: Agent, url: str, name: str) -> None:
    before = held()
    agent.answers(agent.stub.LoadModel, m.LoadModelRequest(url=url, name=name))
    nothing_is_left(before)
    assert [model.name for model in agent.stub.ListModels(m.ListModelsRequest()).models] == ["scenes"]


FILES = st.dictionaries(
    st.sampled_from(["a.tflite", "b.tflite", "a.onnx", "manifest.json", "manifest.sig", "emflow-package.json", "x.so"]),
    st.binary(max_size=300) | st.sampled_from([b"{}", b"[]", b'{"files": {}}', b"TFL3" * 20]),
    max_size=4,
)


@pytest.fixture(scope="module")
def fuzzed(agent: Agent) -> Path:
    """A folder for models, after each runtime that may be asked has opened what it keeps open."""
    folder = agent.folder.parent / "fuzzed"
    folder.mkdir()
    (folder / "a.onnx").touch()
    agent.answers(agent.stub.LoadModel, m.LoadModelRequest(url=str(folder), name="fuzzed"))
    return folder


@settings(THOROUGH, max_examples=100)
@given(files=FILES)
def test_any_folder_is_loaded_or_refused(agent: Agent, fuzzed: Path, files: dict[str, bytes]) -> None:
    for each in fuzzed.iterdir():
        each.unlink()
    for name, content in files.items():
        (fuzzed / name).write_bytes(content)
    before = held()
    agent.answers(agent.stub.LoadModel, m.LoadModelRequest(url=str(fuzzed), name="fuzzed"))
    nothing_is_left(before)


def test_many_calls_of_all_kinds_leave_memory_as_it_was(agent: Agent) -> None:
    handle = m.Tensor(shared_memory_handle=agent.buffer.handle)
    wrong = m.PredictRequest(name="scenes", tensors=[m.Tensor(byte_data=bytes(SIZE - 1))])
    shared = m.PredictRequest(name="scenes", tensors=[handle])

    def some() -> int:
        for _ in range(150):
            agent.is_well()
            assert agent.stub.Predict(shared, timeout=20) == agent.expected
            agent.answers(agent.stub.Predict, wrong)
            agent.answers(agent.stub.LoadModel, m.LoadModelRequest(url="/none", name="x"))
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    some()
    begin, before = some(), held()
    sizes = [some() for _ in range(4)]
    # Each round handles 67 MB of pictures; a leak of a fiftieth of them would show.
    assert min(sizes[1:]) - begin < 4 << 20, sizes
    nothing_is_left(before)
