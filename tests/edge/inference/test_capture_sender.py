"""Captures on their way to the agent: which, when, and that inference never waits for them."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from emflow_agent.tensors.shared_memory import attached_segment
from emflow_edge.inference.capture_sender import MIN_SHARED_BYTES, CapturedPrediction, CaptureSender
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_schema.edge_config import Capture
from emflow_schema.units import Interval
from support import until

EACH = Capture(True, Interval("0s"))
Code = grpc.StatusCode


class Agent:
    """The one call of an agent, over real gRPC: keeps what it is given, answers as the test says."""

    def __init__(self) -> None:
        self.taken: list[tuple[m.CaptureDataRequest, list[bytes]]] = []
        self.refuse: tuple[grpc.StatusCode, str] | None = None
        self.open = threading.Event()
        self.open.set()
        handler = grpc.unary_unary_rpc_method_handler(
            self.capture, m.CaptureDataRequest.FromString, m.CaptureDataResponse.SerializeToString
        )
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(m.SERVICE, {"CaptureData": handler}),)
        )
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub = AgentStub(self._channel)

    def capture(self, request: m.CaptureDataRequest, context: grpc.ServicerContext) -> m.CaptureDataResponse:
        self.open.wait(20)
        if self.refuse:
            context.abort(*self.refuse)
        data = []
        for tensor in (*request.input_tensors, *request.output_tensors):
            if tensor.WhichOneof("data") == "shared_memory_handle":
                with attached_segment(tensor.shared_memory_handle) as view:
                    data.append(bytes(view))
            else:
                data.append(tensor.byte_data)
        self.taken.append((request, data))
        return m.CaptureDataResponse()

    def close(self) -> None:
        self.open.set()
        self._channel.close()
        self._server.stop(0).wait()


@pytest.fixture
def agent() -> Iterator[Agent]:
    agent = Agent()
    yield agent
    agent.close()


@pytest.fixture
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture
def capturing(counts: Counter[str]) -> Iterator[CaptureSender]:
    one = CaptureSender("front", lambda name: counts.update([name]))
    yield one
    one.close(5.0)


def shot(data: bytes = b"picture", taken: float = 1e9) -> CapturedPrediction:
    def tensor(name: bytes, content: bytes) -> m.Tensor:
        return m.Tensor(tensor_metadata=m.TensorMetadata(name=name, shape=[len(content)]), byte_data=content)

    return CapturedPrediction("net", [tensor(b"in", data)], [tensor(b"out", b"one"), tensor(b"more", b"two")], taken)


def test_the_very_bytes_go_out_with_an_id_and_the_frames_time(
    agent: Agent, capturing: CaptureSender, counts: Counter[str]
) -> None:
    capturing.put(agent.stub, shot(taken=1_600_000_000.25))
    until(lambda: counts["captures"] == 1)
    ((request, data),) = agent.taken
    assert data == [b"picture", b"one", b"two"]
    assert [tensor.tensor_metadata.name for tensor in request.output_tensors] == [b"out", b"more"]
    assert request.model_name == "net"
    assert str(uuid.UUID(request.capture_id)) == request.capture_id
    assert (request.inference_timestamp.seconds, request.inference_timestamp.nanos) == (1_600_000_000, 250_000_000)


def test_a_large_tensor_goes_through_shared_memory_and_leaves_none(
    agent: Agent, capturing: CaptureSender, counts: Counter[str]
) -> None:
    capturing.put(agent.stub, shot(b"\3" * (MIN_SHARED_BYTES + 1)))
    until(lambda: counts["captures"] == 1)
    ((request, data),) = agent.taken
    (handle,) = [tensor.shared_memory_handle for tensor in request.input_tensors]
    assert data[0] == b"\3" * (MIN_SHARED_BYTES + 1)
    with pytest.raises(Exception, match="no such shared memory segment"), attached_segment(handle):
        pass


def test_the_newest_wins_and_nobody_waits_while_the_agent_is_slow(
    agent: Agent, capturing: CaptureSender, counts: Counter[str]
) -> None:
    agent.open.clear()
    begin = time.monotonic()
    capturing.put(agent.stub, shot(b"0"))
    until(lambda: not capturing.waiting, what="the first under way")
    for number in range(1, 50):
        capturing.put(agent.stub, shot(str(number).encode()))
    assert time.monotonic() - begin < 10, "the agent would have answered after 20 s only"
    agent.open.set()
    until(lambda: counts["captures"] == 2)
    assert [data[0] for _, data in agent.taken] == [b"0", b"49"]
    assert counts["captures_failed"] == 48


def test_what_is_refused_is_counted_and_reported_once(
    agent: Agent, capturing: CaptureSender, counts: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    agent.refuse = (Code.RESOURCE_EXHAUSTED, "30 captures wait")
    for number in range(1, 6):
        capturing.put(agent.stub, shot())
        until(lambda number=number: counts["captures_failed"] == number)
    agent.refuse = None
    capturing.put(agent.stub, shot())
    until(lambda: counts["captures"] == 1)
    until(lambda: "accepted again" in caplog.text)
    # A buffer that is full now and then is no news.
    agent.refuse = (Code.RESOURCE_EXHAUSTED, "30 captures wait")
    capturing.put(agent.stub, shot())
    until(lambda: counts["captures_failed"] == 6)
    assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == [
        "stream front: the agent refuses captures (RESOURCE_EXHAUSTED): 30 captures wait"
    ]


def due(capturing: CaptureSender, settings: Capture, moments: list[float]) -> list[float]:
    return [at for at in moments if capturing.is_due(settings, at)]


def test_captures_are_due_by_time_by_number_always_or_never(capturing: CaptureSender) -> None:
    seconds = [float(at) for at in range(100, 110)]
    assert due(capturing, Capture(True, Interval("3s")), seconds) == [100, 103, 106, 109]
    assert due(capturing, Capture(True, Interval("4 frames")), seconds) == [100, 104, 108]
    assert due(capturing, EACH, seconds) == seconds
    assert due(capturing, Capture(False, Interval("0s")), seconds) == []
    # Turned on while it runs, the next result is captured at once.
    assert due(capturing, Capture(True, Interval("60s")), seconds) == [100]


def test_ending_sends_what_is_in_the_slot(agent: Agent, capturing: CaptureSender, counts: Counter[str]) -> None:
    agent.open.clear()
    capturing.put(agent.stub, shot(b"0"))
    until(lambda: not capturing.waiting)
    capturing.put(agent.stub, shot(b"1"))
    assert not capturing.close(0.1)
    agent.open.set()
    assert capturing.close(10.0)
    assert [data[0] for _, data in agent.taken] == [b"0", b"1"]
