"""A camera that is joined in the middle of its stream and does not describe it: as many real ones are.

The test camera stands behind a proxy that takes the H.264 parameter sets out of the SDP and swallows the first key
frame.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

import numpy as np
import pytest

from emflow_edge.camera.reader import CameraReader
from emflow_edge.metrics.counters import Counters
from emflow_emulator.camera import scenes
from emflow_schema.edge_config import Stream
from support import PATIENCE

if TYPE_CHECKING:
    from edge.conftest import Edge

SWALLOWED = 0.4
DWELL = 2


def downstream(stream: IO[bytes], client: socket.socket) -> None:
    """Hand on what the camera says: answers without parameter sets, and video only after a while."""
    begun: float | None = None
    while start := stream.read(1):
        if start == b"$":  # interleaved: channel, length, packet
            head = stream.read(3)
            packet = stream.read(int.from_bytes(head[1:], "big"))
            begun = begun or time.monotonic()
            if head[0] or time.monotonic() > begun + SWALLOWED:
                client.sendall(start + head + packet)
            continue
        head, length = start, 0
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            head += line
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        client.sendall(head + stream.read(length).replace(b"sprop-parameter-sets=", b"xprop-parameter-sets="))


def serve(listener: socket.socket, port: int) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=join, args=(client, port), daemon=True).start()


def join(client: socket.socket, port: int) -> None:
    with client, socket.create_connection(("127.0.0.1", port)) as camera:

        def back() -> None:
            with contextlib.suppress(OSError):
                downstream(camera.makefile("rb"), client)
            client.close()

        threading.Thread(target=back, daemon=True).start()
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                camera.sendall(data)


@pytest.fixture
def late_url(edge: "Edge") -> Iterator[str]:
    _, url = edge.camera("--dwell", str(DWELL), "--size", "320x240")
    port = int(url.split(":")[2].split("/")[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener, port), daemon=True).start()
        yield url.replace(str(port), str(listener.getsockname()[1]))


@pytest.mark.e2e
def test_its_frames_come_and_none_of_them_is_from_before_it_was_opened(late_url: str) -> None:
    stop, counters = threading.Event(), Counters()
    camera = CameraReader(Stream("late", late_url), counters, stop)
    compared = 0
    camera.start()
    try:
        for _ in range(300):  # seconds of frames: the first ones may all be near a change of scene
            if compared > 3:
                break
            frame = camera.frames.take(PATIENCE)
            at = frame.captured_at
            if 0.25 < at % DWELL < DWELL - 0.5:  # else another scene may be seen
                shown = scenes.moving(scenes.shown_at(at, DWELL), at, 320, 240, DWELL)[..., ::-1]
                assert np.abs(shown.astype(int) - frame.image).mean() < 25
                compared += 1
    finally:
        stop.set()
        camera.join(PATIENCE)
    assert compared > 3
    # Those that had waited while the stream was looked at.
    assert counters.snapshot()["skipped"] > 5
