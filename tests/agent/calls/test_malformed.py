"""Requests that are no messages, or far larger once they are read: refused, at no lasting cost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from emflow_agent.calls.refused_calls import MAX_TEXTS, RefusedCalls
from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.models.store import ModelStore
from emflow_proto import health
from emflow_proto import messages as m
from emflow_proto.limits import MAX_PARTS
from emflow_proto.service import AgentStub
from support import PATIENCE, Process, until

Start = Callable[..., Process]
Refusal = Callable[[Callable[..., object]], tuple[grpc.StatusCode, str]]

NO_MESSAGE = b"\xff\xff\xff"
UNARY = [f"/{m.SERVICE}/{name}" for name in m.CALLS] + [f"/{health.SERVICE}/Check"]
WATCH = f"/{health.SERVICE}/Watch"
REFLECTION = [f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")]


class RawClient:
    """Sends bytes as requests, without protobuf."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.methods = [*UNARY, WATCH, *REFLECTION]

    def send(self, method: str, content: bytes) -> object:
        """Make the call; raises its refusal."""
        if method in REFLECTION:
            return list(self._channel.stream_stream(method, None, None)(iter([content]), timeout=PATIENCE))
        if method == WATCH:
            return list(self._channel.unary_stream(method, None, None)(content, timeout=PATIENCE))
        return self._channel.unary_unary(method, None, None)(content, timeout=PATIENCE)

    def is_refused(self, method: str, content: bytes) -> grpc.StatusCode:
        with pytest.raises(grpc.RpcError) as caught:
            self.send(method, content)
        code: grpc.StatusCode = caught.value.code()
        return code


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """The socket of an agent in this process."""
    with serving(AgentService(ModelStore(threads=1)), tmp_path / "a.sock", clean_stale_socket=False, grace=5.0):
        yield tmp_path / "a.sock"


@pytest.mark.parametrize("method", [*UNARY, WATCH, *REFLECTION])
def test_a_request_that_is_no_message_is_an_invalid_argument(socket: Path, method: str, refused: Refusal) -> None:
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        code, text = refused(lambda: RawClient(channel).send(method, NO_MESSAGE))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "the 3 bytes of the request are no " in text


def memory(process: Process, line: str = "VmRSS") -> int:
    """Of a program, in bytes."""
    status = Path(f"/proc/{process.popen.pid}/status").read_text()
    return next(int(each.split()[1]) << 10 for each in status.splitlines() if each.startswith(f"{line}:"))


@pytest.fixture
def agent(python: Start, tmp_path: Path) -> Process:
    """An agent as a program, on `p.sock`."""
    process = python("emflow_agent", "--socket", str(tmp_path / "p.sock"))
    process.says("Server listening on")
    return process


def grown_by(agent: Process, tmp_path: Path, calls: int) -> tuple[int, int]:
    """Make so many malformed calls, of each method in turn; the growth of memory in bytes, and the calls made."""
    made = 0
    with grpc.insecure_channel(f"unix:{tmp_path / 'p.sock'}") as channel:
        client = RawClient(channel)

        def some(number: int) -> None:
            nonlocal made
            for at in range(number):
                client.is_refused(client.methods[at % len(client.methods)], NO_MESSAGE)
                made += 1

        some(300)
        before = memory(agent)
        some(calls)
        return memory(agent) - before, made


def logs_little(agent: Process, calls: int) -> None:
    """A first line for each method, and then a count; all calls are in it."""
    assert agent.end() == 0
    lines = [line for line in agent.text().splitlines() if "INVALID_ARGUMENT" in line]
    counts = [int(line.split(" more calls like this")[0].split()[-1]) for line in lines if "more calls like" in line]
    firsts = len(lines) - len(counts)
    assert firsts + sum(counts) == calls
    assert len(lines) <= 4 * len([*UNARY, WATCH, *REFLECTION]), "the run is shorter than two periods"
    assert "Traceback" not in agent.text()


def test_malformed_calls_leave_memory_as_it_was_and_few_lines(agent: Process, tmp_path: Path) -> None:
    growth, calls = grown_by(agent, tmp_path, 3000)
    # gRPC's own parsing takes 16 to 19 KB of each call for ever: 50 MB here.
    assert growth < 4 << 20
    logs_little(agent, calls)


@pytest.mark.e2e
def test_fifty_thousand_malformed_calls_leave_memory_as_it_was(agent: Process, tmp_path: Path) -> None:
    growth, _ = grown_by(agent, tmp_path, 50_000)
    assert growth < 6 << 20


def field(number: int, content: bytes) -> bytes:
    """A field with a length, as protobuf writes it."""
    size, length = len(content), b""
    while size > 0x7F:
        size, length = size >> 7, length + bytes([size & 0x7F | 0x80])
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


MANY = 20 << 20
SWELLING = {
    "tensors": (f"/{m.SERVICE}/Predict", field(2, b"") * MANY),
    "captured tensors": (f"/{m.SERVICE}/CaptureData", field(4, b"") * MANY),
    "sizes of a shape": (f"/{m.SERVICE}/Predict", field(2, field(1, field(3, b"\1" * MANY)))),
    "single sizes of a shape": (f"/{m.SERVICE}/Predict", field(2, field(1, b"\x18\x01" * MANY))),
    "fields of a later version": (f"/{m.SERVICE}/Predict", b"\xf8\x01\x01" * MANY),
    "unknown fields of health": (f"/{health.SERVICE}/Check", b"\xf8\x01\x01" * MANY),
}


@pytest.mark.parametrize("what", list(SWELLING))
def test_a_request_that_swells_when_it_is_read_is_refused(agent: Process, tmp_path: Path, what: str) -> None:
    method, content = SWELLING[what]
    with grpc.insecure_channel(
        f"unix:{tmp_path / 'p.sock'}", options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        assert RawClient(channel).is_refused(method, content) == grpc.StatusCode.INVALID_ARGUMENT
    agent.says(f"more than {MAX_PARTS} parts")
    # The message itself is in memory two or three times; its parts would take 20 to 30 times its size.
    assert memory(agent, "VmHWM") < (100 << 20) + 4 * len(content)


def test_a_message_of_few_large_parts_is_no_such(stub: AgentStub, scenes: m.Model, refused: Refusal) -> None:
    tensors = [m.Tensor(byte_data=bytes(10_000_000))] * 3
    code, text = refused(lambda: stub.Predict(m.PredictRequest(name="scenes", tensors=tensors)))
    assert (code, "parts" in text) == (grpc.StatusCode.INVALID_ARGUMENT, False)


Code = grpc.StatusCode


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_reasons_of_refused_calls_are_logged_at_once_and_later_counted(caplog: pytest.LogCaptureFixture) -> None:
    refused = RefusedCalls(period=3600)
    for _ in range(1000):
        refused.report("Predict", Code.NOT_FOUND, "no model")
        refused.report("Predict", Code.INVALID_ARGUMENT, "a wrong size")
    assert lines_of(caplog) == ["Predict: NOT_FOUND: no model", "Predict: INVALID_ARGUMENT: a wrong size"]
    caplog.clear()
    refused.close()
    assert lines_of(caplog) == [
        "Predict: NOT_FOUND: 999 more calls like this; the last: no model",
        "Predict: INVALID_ARGUMENT: 999 more calls like this; the last: a wrong size",
    ]


def test_reasons_that_differ_each_time_are_a_few_lines_too(caplog: pytest.LogCaptureFixture) -> None:
    refused = RefusedCalls(period=3600)
    for size in range(1000):
        refused.report("Predict", Code.INVALID_ARGUMENT, f"not {size} bytes")
    refused.close()
    assert lines_of(caplog) == [
        *(f"Predict: INVALID_ARGUMENT: not {size} bytes" for size in range(MAX_TEXTS)),
        f"Predict: INVALID_ARGUMENT: {1000 - MAX_TEXTS} more calls like this; the last: not 999 bytes",
    ]


def test_the_count_comes_by_itself_when_no_further_call_does(caplog: pytest.LogCaptureFixture) -> None:
    refused = RefusedCalls(period=0.05)
    refused.report("Predict", Code.NOT_FOUND, "no model")
    refused.report("Predict", Code.NOT_FOUND, "no model")
    until(lambda: any("1 more calls like this" in line for line in lines_of(caplog)))
    refused.report("Predict", Code.NOT_FOUND, "no model")
    assert lines_of(caplog)[-1] == "Predict: NOT_FOUND: no model", "a new period, a new line"
    refused.close()


def test_a_client_that_did_not_wait_leaves_no_line(caplog: pytest.LogCaptureFixture) -> None:
    RefusedCalls().report("Predict", Code.CANCELLED, "the caller is gone")
    assert not lines_of(caplog)
