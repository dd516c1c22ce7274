"""The page on loopback, and those who do not mean well with it."""

from __future__ import annotations

import itertools
import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

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


def test_those_who_say_nothing_are_not_waited_for_in_any_number(page: MetricsServer) -> None:
    before = threading.active_count()
    with ExitStack() as held:
        for _ in range(20):
            held.enter_context(socket.create_connection((HOST, page.port), 10))
        with socket.create_connection((HOST, page.port), 10) as one:
            assert one.recv(1) == b""
        assert threading.active_count() <= before + 16
    until(lambda: status_or_none(page) == 200)


def status_or_none(page: MetricsServer) -> int | None:
    try:
        return status(page, "/metrics", HOST)
    except (OSError, IndexError):
        return None


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
