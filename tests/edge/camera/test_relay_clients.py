"""Who connects to a relay: strangers keep nobody away, and a program's loss has its reason before it is noticed."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from edge.camera.relays import asked_of, fetched, guarded, http_guarded, strangers
from edge.camera.scripted_camera import ScriptedCamera, answered, sequence, tidy
from emflow_edge.camera.http_relay import HttpRelay
from emflow_edge.camera.opencv_camera import OpencvCamera
from emflow_edge.camera.rtsp_relay import RtspRelay
from emflow_edge.rtsp.buffered_socket import BufferedSocket
from emflow_edge.rtsp.errors import CameraRefused
from emflow_schema.edge_config import Stream
from emflow_schema.stream_url import split
from emflow_schema.units import DeviceDuration
from support import until

Start = Callable[..., ScriptedCamera]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relays that wait for a request for longer than a test takes."""
    for module in ("rtsp_relay", "http_relay"):
        monkeypatch.setattr(f"emflow_edge.camera.{module}.FIRST_REQUEST", 600.0)


def test_connections_that_say_nothing_are_ended_after_a_while(
    scripted: Start, relayed: Callable[..., RtspRelay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emflow_edge.camera.rtsp_relay.FIRST_REQUEST", 0.2)
    relay = relayed(scripted(guarded()))
    with strangers(relay, 5) as silent:
        assert [one.recv(1) for one in silent] == [b""] * 5


@pytest.mark.usefixtures("patient")
def test_silent_connections_do_not_keep_the_program_from_an_rtsp_camera(
    scripted: Start, relayed: Callable[..., RtspRelay]
) -> None:
    relay = relayed(scripted(guarded()))
    with strangers(relay, 40):
        for _ in range(3):
            assert asked_of(relay, f"DESCRIBE {relay.url}").startswith("RTSP/1.0 200 OK")


@pytest.mark.usefixtures("patient")
def test_silent_connections_do_not_keep_the_program_from_an_http_camera(
    scripted: Start, http_relayed: Callable[..., HttpRelay]
) -> None:
    relay = http_relayed(scripted(lambda head: http_guarded(head, b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx")))
    with strangers(relay, 40):
        for _ in range(3):
            assert fetched(relay.url) == (200, b"x")


@pytest.mark.usefixtures("patient")
def test_silent_connections_do_not_end_the_one_that_the_program_has(
    scripted: Start, relayed: Callable[..., RtspRelay]
) -> None:
    relay = relayed(scripted(guarded()))
    place = split(relay.url)
    with socket.create_connection((place.host, place.port), timeout=30) as program:
        for number in range(1, 4):
            program.sendall(f"DESCRIBE {relay.url} RTSP/1.0\r\nCSeq: {number}\r\n\r\n".encode())
            answer = b""
            while b"a=control" not in answer:
                more = program.recv(65536)
                assert more, "the program's connection was ended"
                answer += more
            with strangers(relay, 40) as silent:
                # So many came after it that it had to go.
                assert silent[0].recv(1) == b""


@pytest.mark.parametrize("said", [b"", b"\r\n\r\n", b"GET /wrong HTTP/1.0\r\n\r\n", b"\0" * 100_000])
def test_who_does_not_know_the_path_does_not_change_the_reason_for_a_loss(
    scripted: Start, http_relayed: Callable[..., HttpRelay], said: bytes
) -> None:
    relay = http_relayed(scripted(lambda head: b"HTTP/1.0 401 No\r\nWWW-Authenticate: Basic\r\n\r\n"))
    assert fetched(relay.url) == (502, b"")
    known = relay.problem
    assert isinstance(known, CameraRefused)
    with strangers(relay, 1) as (stranger,):
        with contextlib.suppress(OSError):
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
    assert relay.problem is known


@pytest.fixture
def reasons_when_answered(monkeypatch: pytest.MonkeyPatch) -> Callable[[RtspRelay | HttpRelay], list[tuple[str, Any]]]:
    """From now on: the first line of each answer of a relay, and the reason for a loss that it knew at that time."""

    def observe(relay: RtspRelay | HttpRelay) -> list[tuple[str, Any]]:
        seen: list[tuple[str, Any]] = []
        really = BufferedSocket.send

        def send(self: BufferedSocket, data: bytes | bytearray, deadline: float) -> None:
            if re.match(rb"(RTSP|HTTP)/1\.\d \d", data):
                seen.append((bytes(data).split(b"\r\n")[0].decode(), relay.problem))
            really(self, data, deadline)

        monkeypatch.setattr(BufferedSocket, "send", send)
        return seen

    return observe


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.0 401 No\r\nWWW-Authenticate: Basic\r\n\r\n", "refuses user and password (401)"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "answers with 404 Not Found"),
        (b"HTTP/1.0 302 Found\r\nLocation: rtsp://x/\r\n\r\n", "redirects to rtsp, which is not allowed"),
        (b"hello\r\n\r\n", "is it an HTTP camera?"),
        (None, "closed the connection"),
    ],
)
def test_the_reason_is_known_before_an_http_program_gets_an_error(
    scripted: Start,
    http_relayed: Callable[..., HttpRelay],
    reasons_when_answered: Callable[[HttpRelay], list[tuple[str, Any]]],
    answer: bytes | None,
    reason: str,
) -> None:
    relay = http_relayed(scripted(lambda _: answer))
    seen = reasons_when_answered(relay)
    assert fetched(relay.url)[0] == 502
    assert [line for line, _ in seen] == ["HTTP/1.0 502 Bad Gateway"]
    assert reason in str(seen[0][1])
    assert relay.problem is seen[0][1]


@pytest.mark.parametrize("method", ["SETUP", "PLAY"])
@pytest.mark.parametrize("status", ["403 Forbidden", "453 Not Enough Bandwidth", "500 No"])
def test_the_reason_is_known_before_an_rtsp_program_gets_an_error(
    scripted: Start,
    relayed: Callable[..., RtspRelay],
    reasons_when_answered: Callable[[RtspRelay], list[tuple[str, Any]]],
    method: str,
    status: str,
) -> None:
    relay = relayed(
        scripted(guarded(answer=lambda head: answered(head, status) if head.startswith(method) else tidy(head)))
    )
    seen = reasons_when_answered(relay)
    asked_of(relay, f"SETUP {relay.url}/1", f"PLAY {relay.url}/")
    errors = [(line, known) for line, known in seen if " 200 " not in line]
    assert [line for line, _ in errors] == [f"RTSP/1.0 {status}"]
    assert status[:3] in str(errors[0][1])
    assert isinstance(errors[0][1], CameraRefused) == (status[:3] == "403")


@pytest.mark.parametrize(
    "answer", [b"RTSP/1.0 401 No\r\n\r\n", b"RTSP/1.0 302 Moved\r\nCSeq: {}\r\n\r\n", b"x\r\n\r\n", None]
)
def test_the_reason_is_known_before_an_rtsp_connection_ends(
    scripted: Start, relayed: Callable[..., RtspRelay], answer: bytes | None
) -> None:
    def with_failing_setup(head: str) -> bytes | None:
        if not head.startswith("SETUP"):
            return tidy(head)
        return answer and answer.replace(b"{}", sequence(head).encode())

    relay = relayed(scripted(guarded(answer=with_failing_setup)), open_timeout=DeviceDuration("2s"))
    assert asked_of(relay, f"SETUP {relay.url}/1") == ""
    assert relay.problem is not None


def test_a_program_that_hangs_after_a_refusal_does_not_hide_it(
    scripted: Start, http_relayed: Callable[..., HttpRelay]
) -> None:
    relay = http_relayed(scripted(lambda _: b"HTTP/1.0 401 No\r\nWWW-Authenticate: Basic\r\n\r\n"))
    assert fetched(relay.url) == (502, b"")
    stream = Stream("front", "http://127.0.0.1/", open_timeout=DeviceDuration("0.1s"))
    over = threading.Event()

    def hang() -> None:
        over.wait(60)

    with pytest.raises(CameraRefused, match="refuses user and password"):
        OpencvCamera(stream, hang, "gives no video", relay=relay)
    over.set()


def test_a_connection_that_ends_late_does_not_change_the_reason_of_the_next(
    scripted: Start, http_relayed: Callable[..., HttpRelay]
) -> None:
    ended = threading.Event()

    def answer(head: str) -> bytes | None:
        if head.startswith("GET /mjpeg?fps=5/late"):
            ended.wait(60)
            return None
        return b"HTTP/1.0 401 No\r\nWWW-Authenticate: Basic\r\n\r\n"

    camera = scripted(answer)
    relay = http_relayed(camera)
    place = split(relay.url)
    with socket.create_connection((place.host, place.port), timeout=30) as late:
        late.sendall(f"GET {place.path}/late HTTP/1.0\r\n\r\n".encode())
        until(lambda: camera.heads)
        assert fetched(relay.url) == (502, b"")
        known = relay.problem
        ended.set()
        assert late.recv(65536).startswith(b"HTTP/1.0 502")
    assert relay.problem is known
    assert isinstance(known, CameraRefused)
