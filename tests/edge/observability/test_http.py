"""The page on loopback, and those who do not mean well with it."""

from __future__ import annotations

import itertools
import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.observability import http
from emflow_edge.observability.exposition import MetricsExporter
from emflow_edge.observability.http import HOST, MetricsServer
from emflow_edge.observability.status import Status
from support import until


@pytest.fixture(scope="module")
def page() -> Iterator[MetricsServer]:
    metrics = MetricsExporter("board", "1", Counters(), StageLatencies(), Status())
    page = MetricsServer(0, metrics, lambda name: b"x" * (1 << 22) if name == "front" else None)
    yield page
    page.close()


def answer(page: MetricsServer, path: str, host: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """The status, and the head of the answer."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((HOST, page.port), 10) as one:
        one.sendall(f"{method} {path} HTTP/1.0\r\nHost: {host}\r\n{more}\r\n".encode())
        # Up to the empty line, or to the end where the server hangs up before it.
        lines = list(itertools.takewhile(lambda line: line != b"\r\n", one.makefile("rb")))
        return int(lines[0].split()[1]), b"".join(lines).decode()


def status(page: MetricsServer, path: str, host: str) -> int:
    return answer(page, path, host)[0]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil:9100"])
def test_who_calls_it_by_another_name_is_refused(page: MetricsServer, host: str) -> None:
    assert status(page, "/metrics", host) == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:9100", ""])
def test_who_calls_it_by_its_own_name_is_answered(page: MetricsServer, host: str) -> None:
    assert status(page, "/metrics", host) == 200


@pytest.mark.parametrize("path", ["/metrics", "/status", "/streams/front.jpg"])
def test_the_page_of_another_site_is_refused(page: MetricsServer, path: str) -> None:
    for origin in ("http://127.0.0.1:9", "https://page.example", "null"):
        code, head = answer(page, path, HOST, Origin=origin)
        assert (code, "access-control" in head.lower()) == (403, False)
    code, head = answer(page, path, HOST)
    assert (code, "Cross-Origin-Resource-Policy: same-origin" in head, "access-control" in head.lower()) == (
        200,
        True,
        False,
    )


@pytest.mark.parametrize(
    ("site", "what", "expected"),
    [
        ("cross-site", "image", 403),
        ("same-site", "iframe", 403),
        ("cross-site", "empty", 403),
        ("cross-site", "document", 200),
        ("same-origin", "image", 200),
        ("none", "document", 200),
    ],
)
def test_no_other_page_has_a_piece_of_it(page: MetricsServer, site: str, what: str, expected: int) -> None:
    assert answer(page, "/streams/front.jpg", HOST, Sec_Fetch_Site=site, Sec_Fetch_Dest=what)[0] == expected


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "X"])
def test_there_is_nothing_but_reading(page: MetricsServer, method: str) -> None:
    assert answer(page, "/status", HOST, method)[0] == 405


def test_a_name_in_the_target_counts_as_much_as_the_header(page: MetricsServer) -> None:
    assert status(page, "http://evil.example/status", HOST) == 403


@pytest.mark.parametrize("path", ["/../etc/passwd", "/streams/../../etc/passwd.jpg", "/streams/%2e%2e%2fx.jpg"])
def test_there_is_nothing_but_what_there_is(page: MetricsServer, path: str) -> None:
    assert status(page, path, HOST) == 404


def test_those_who_leave_in_the_middle_leave_no_traceback(
    page: MetricsServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "emflow_edge")
    with socket.create_connection((HOST, page.port), 10) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.sendall(b"GET /streams/front.jpg HTTP/1.0\r\n\r\n")
        one.recv(100)
    until(lambda: "http" in caplog.text)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("said", [b"", b"GET /metrics HTTP/1.0\r\nX: "], ids=["nothing", "half a request"])
def test_those_who_ask_for_nothing_keep_away_nobody_in_any_number(
    page: MetricsServer, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(http._Handler, "timeout", 600.0)
    before = threading.active_count()
    with ExitStack() as held:
        silent = [held.enter_context(socket.create_connection((HOST, page.port), 30)) for _ in range(40)]
        for one in silent:
            with suppress(OSError):
                one.sendall(said)
        for _ in range(3):
            assert status(page, "/metrics", HOST) == 200
        until(lambda: threading.active_count() <= before + 16)


def test_who_reads_an_answer_is_not_ended_by_those_who_ask_for_nothing(page: MetricsServer) -> None:
    with ExitStack() as held, socket.create_connection((HOST, page.port), 30) as reader:
        reader.sendall(b"GET /streams/front.jpg HTTP/1.0\r\n\r\n")
        answer = reader.recv(100)
        silent = [held.enter_context(socket.create_connection((HOST, page.port), 30)) for _ in range(40)]
        # So many came after it that it had to go.
        assert silent[0].recv(1) == b""
        while more := reader.recv(1 << 20):
            answer += more
    assert len(answer.partition(b"\r\n\r\n")[2]) == 1 << 22


def test_who_does_not_read_the_answers_keeps_away_nobody(page: MetricsServer) -> None:
    with ExitStack() as held:
        for _ in range(40):
            one = held.enter_context(socket.create_connection((HOST, page.port), 30))
            one.sendall(b"GET /streams/front.jpg HTTP/1.0\r\n\r\n")
            assert one.recv(1)
        assert status(page, "/metrics", HOST) == 200


def test_who_sends_a_request_byte_by_byte_is_not_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http._Handler, "timeout", 0.5)
    page = MetricsServer(0, MetricsExporter("board", "1", Counters(), StageLatencies(), Status()), lambda _: None)
    began = time.monotonic()
    with socket.create_connection((HOST, page.port), 10) as one:
        one.sendall(b"GET /metrics HTTP/1.0\r\nX: ")

        def was_closed() -> bool:
            try:
                one.sendall(b"y")
            except OSError:
                return True
            return False

        until(was_closed)
    assert time.monotonic() - began < 20
    page.close()
