"""The test camera as players see it: OpenCV and PyAV, over TCP and UDP, against the camera's own schedule."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from emflow.problems import Problem
from emflow_emulator.camera import scenes
from emflow_emulator.child import Child
from support import PATIENCE, until

pytestmark = pytest.mark.e2e

DWELL, RATE = 0.8, 25
WIDTH, HEIGHT = 640, 480
CLOSE = 12
"""Grey levels by which a frame may differ from the picture of its moment: what the encoder loses."""
FINE = 0.05
"""Seconds between the moments whose pictures a frame is compared with."""
BEHIND = 10.0
"""Seconds after which a player that reads without pause has to be up to date again."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start cameras as `emflow up` does; all are gone afterwards."""
    with contextlib.ExitStack() as stack:

        def start(*args: str) -> Child:
            camera = Child("camera", "emflow_emulator.camera", args, tmp_path / "camera.log")
            stack.callback(camera.stop)
            return camera

        yield start


@contextlib.contextmanager
def opencv(url: str, transport: str) -> Iterator[Iterator[tuple[float, np.ndarray]]]:
    """Frames as RGB with their time of arrival, read as the workshop's client reads them."""
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"rtsp_transport;{transport}"
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)

    def frames() -> Iterator[tuple[float, np.ndarray]]:
        while True:
            ok, frame = capture.read()
            assert ok, "OpenCV got no frame"
            yield time.time(), frame[:, :, ::-1]

    try:
        yield frames()
    finally:
        capture.release()
        del os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"]


@contextlib.contextmanager
def pyav(url: str, transport: str) -> Iterator[Iterator[tuple[float, np.ndarray]]]:
    with av.open(url, options={"rtsp_transport": transport, "flags": "low_delay"}, timeout=PATIENCE) as container:
        container.streams.video[0].thread_type = "NONE"
        yield ((time.time(), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0))


def error(frame: np.ndarray, picture: np.ndarray) -> float:
    """Mean difference of two pictures, in grey levels."""
    return float(np.abs(frame.astype(np.int16) - picture).mean())


def best_match(since: float, arrived: float, frame: np.ndarray) -> tuple[float, float]:
    """The moment whose scheduled picture is most like the frame, and how far off it is.

    Args:
        since: Unix time before the player was opened. FFmpeg looks at a stream for up to five seconds before it gives
            the first frame; on a slow machine, the frames that come in meanwhile are handed out much later.
        arrived: Unix time at which the player gave the frame.
    """

    def best(moments: Iterable[float]) -> list[tuple[float, float]]:
        pictures = ((t, scenes.moving(scenes.shown_at(t, DWELL), t, WIDTH, HEIGHT, DWELL)) for t in moments)
        return sorted((error(frame, picture), t) for t, picture in pictures)

    # Nearly every frame is a fresh one. If it is not, several moments of each scene since the opening, and then what
    # lies around the best of them.
    off, moment = best(np.arange(max(since, arrived - 1.0), arrived, FINE))[0]
    if off > CLOSE:
        coarse = best(np.arange(since, arrived, DWELL / 4))[:3]
        around = {t + step * FINE for _, t in coarse for step in range(-5, 6)}
        off, moment = min([(off, moment), *best(t for t in around if since <= t <= arrived)])
    return moment, off


def caught_up(frames: Iterator[tuple[float, np.ndarray]]) -> None:
    """Leave out the frames that waited while the player was opening: these come faster than the camera draws them."""
    deadline, last = time.monotonic() + BEHIND, time.monotonic()
    for number, _ in enumerate(frames, 1):
        if number % RATE == 0:
            now = time.monotonic()
            if now - last > 0.9 or now > deadline:
                return
            last = now


@pytest.mark.alone
@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("player", [opencv, pyav])
def test_players_see_the_scheduled_scene_as_it_is_drawn(start: Any, player: Any, transport: str) -> None:
    url = start("--dwell", str(DWELL)).ready()["url"]
    since = time.time()
    with player(url, transport) as frames:
        caught_up(frames)
        # Looked at only afterwards: a player that dawdles sees the past.
        kept = [next(itertools.islice(frames, 14, None)) for _ in range(8)]
    matches = [best_match(since, arrived, frame) for arrived, frame in kept]
    close = [moment for moment, off in matches if off < CLOSE]
    # A datagram that is lost on a busy machine damages the picture until the next key frame, a second later.
    assert len(close) >= (8 if transport == "tcp" else 5), matches
    assert close == sorted(close)
    # A player's own buffering, on a busy machine; how soon a frame can be there is tested with a clock in the picture.
    assert statistics.median(arrived - moment for (arrived, _), (moment, _) in zip(kept, matches, strict=True)) < 2
    assert len({scenes.shown_at(moment, DWELL) for moment in close}) >= 3


def test_the_ready_line_tells_where_and_what(start: Any) -> None:
    facts = start("--dwell", "3", "--name", "gate").ready()
    assert facts["url"].startswith("rtsp://127.0.0.1:")
    assert facts["url"].endswith("/gate")
    assert facts["dwell"] == 3.0
    assert tuple(facts["scenes"]) == scenes.SCENES


def close_one(since: float, frames: Iterator[tuple[float, np.ndarray]]) -> tuple[float, float]:
    """The best match among a few frames, one a second: a lost datagram damages the picture until the next key frame."""
    tried = [next(itertools.islice(frames, 24, None)) for _ in range(4)]
    return min((best_match(since, *one) for one in tried), key=lambda match: match[1])


def test_two_clients_see_the_same_and_one_stays_when_the_other_leaves(start: Any) -> None:
    url = start("--dwell", str(DWELL)).ready()["url"]
    since = time.time()
    with pyav(url, "tcp") as first:
        with pyav(url, "udp") as second:
            together = [close_one(since, first), close_one(since, second)]
        left = time.time()
        # First come the frames that waited while nobody read them.
        alone = next(match for match in (close_one(since, first) for _ in range(10)) if match[0] > left)
    assert max(off for _, off in [*together, alone]) < CLOSE


def test_it_encodes_only_while_somebody_watches(start: Any) -> None:
    camera = start()
    url = camera.ready()["url"]
    assert "encoding" not in camera.log.read_text()
    with pyav(url, "tcp") as frames:
        next(frames)
        assert camera.log.read_text().count("encoding starts") == 1
    until(lambda: "encoding stops" in camera.log.read_text())


@pytest.mark.parametrize("transport", ["RTP/AVP/TCP;unicast;interleaved=0-1", "RTP/AVP;unicast;client_port=9-10"])
def test_a_client_that_vanishes_leaves_nothing(start: Any, transport: str) -> None:
    camera = start()
    url = camera.ready()["url"]
    port = int(url.split(":")[2].split("/")[0])
    files = Path(f"/proc/{camera.pid}/fd")
    before = len(list(files.iterdir()))
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"SETUP {url} RTSP/1.0\r\nCSeq: 1\r\nTransport: {transport}\r\n\r\n".encode())
        client.sendall(f"PLAY {url} RTSP/1.0\r\nCSeq: 2\r\n\r\n".encode())
        until(lambda: "encoding starts" in camera.log.read_text())
        # Closing so sends a reset instead of a farewell, as from a machine that has gone.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: "encoding stops" in camera.log.read_text())
    until(lambda: len(list(files.iterdir())) == before)
    assert "Traceback" not in camera.log.read_text()


@pytest.mark.parametrize(
    ("suffix", "size", "shown"),
    [("png", (320, 240), (320, 240)), ("jpg", (321, 241), (320, 240)), ("png", (2000, 1000), (1280, 640))],
)
def test_it_shows_a_picture_file_in_an_even_size(
    start: Any, tmp_path: Path, suffix: str, size: Any, shown: Any
) -> None:
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    picture = np.stack([255 * columns / width, 255 * rows / height, 128 + 0 * rows], axis=2).astype(np.uint8)
    path = tmp_path / f"picture.{suffix}"
    assert cv2.imwrite(str(path), picture[:, :, ::-1])
    facts = start("--image", str(path)).ready()
    assert facts["scenes"] == []
    with pyav(facts["url"], "tcp") as frames:
        _, frame = next(frames)
    assert frame.shape == (shown[1], shown[0], 3)
    assert error(frame, cv2.resize(picture, shown, interpolation=cv2.INTER_AREA)) < 4


def test_a_missing_picture_is_reported(start: Any, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"there is no picture .*gone\.png"):
        start("--image", str(tmp_path / "gone.png")).ready()


@pytest.mark.parametrize("content", [b"", b"just text\n" * 100])
def test_a_file_that_is_no_picture_is_reported(start: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(Problem, match=r"notes\.png cannot be read as a picture"):
        start("--image", str(path)).ready()


def test_a_taken_port_is_reported_with_the_way_out(start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Problem, match=f"port {port} is taken") as told:
            start("--port", str(port)).ready()
    assert "--port" in told.value.mend


@pytest.mark.parametrize("way", ["SIGTERM", "the parent has gone"])
def test_it_ends_at_once_even_while_somebody_watches(start: Any, way: str) -> None:
    camera = start()
    with pyav(camera.ready()["url"], "tcp") as frames:
        next(frames)
        told = time.monotonic()
        if way == "SIGTERM":
            os.kill(camera.pid, signal.SIGTERM)
        else:
            camera._process.stdin.close()
        until(lambda: not camera.running, what="its end")
        assert time.monotonic() - told < 10  # a client's session would last for a minute
    assert camera._process.returncode == 0
    assert "Traceback" not in camera.log.read_text()
