"""Cameras with a password behind a relay, and programs that ask the relay."""

from __future__ import annotations

import base64
import contextlib
import socket
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from edge.camera.scripted_camera import ScriptedCamera, answered, tidy
from emflow_edge.camera.http_relay import HttpRelay
from emflow_edge.camera.rtsp_relay import RtspRelay
from emflow_schema.edge_config import Stream
from emflow_schema.stream_url import split

USER = ("admin", "s3cret/@:word")
BASIC = "Basic " + base64.b64encode(":".join(USER).encode()).decode()
ASKED_BASIC = 'WWW-Authenticate: Basic realm="x"\r\n'


def guarded(asked: str = ASKED_BASIC, answer: Callable[[str], bytes | None] = tidy) -> Callable[[str], bytes | None]:
    """A camera that wants user and password for all but OPTIONS."""

    def with_password(head: str) -> bytes | None:
        given = BASIC in head if "Basic" in asked else 'Authorization: Digest username="admin"' in head
        return answer(head) if given or head.startswith("OPTIONS") else answered(head, "401 Unauthorized", asked)

    return with_password


def stream_of(camera: ScriptedCamera, **settings: Any) -> Stream:
    return Stream("front", f"rtsp://127.0.0.1:{camera.port}/live?channel=1", **settings)


def http_guarded(head: str, then: bytes) -> bytes:
    return then if BASIC in head else b"HTTP/1.0 401 No\r\nWWW-Authenticate: Basic\r\n\r\n"


def asked_of(relay: RtspRelay, *requests: str) -> str:
    """What the relay answers until it ends the connection, or for a second."""
    place = split(relay.url)
    with socket.create_connection((place.host, place.port), timeout=10) as client:
        for number, request in enumerate(requests, 1):
            client.sendall(f"{request} RTSP/1.0\r\nCSeq: {number}\r\n\r\n".encode())
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def fetched(url: str) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


@contextlib.contextmanager
def strangers(relay: RtspRelay | HttpRelay, count: int) -> Iterator[list[socket.socket]]:
    """Connections that do not say anything."""
    place = split(relay.url)
    with contextlib.ExitStack() as held:
        address = place.host, place.port
        yield [held.enter_context(socket.create_connection(address, timeout=30)) for _ in range(count)]
