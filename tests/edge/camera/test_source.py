"""The source against a real RTSP camera."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from emflow.local import scenes
from emflow_edge.camera.newest import Closed
from emflow_edge.camera.source import Backlog, Camera, Frame, why_absent
from emflow_edge.counters import Counters
from emflow_edge.settings.streams import Stream
from support import until

if TYPE_CHECKING:
    from conftest import Edge


class Watched(Camera):
    """A camera with what belongs to it, for a test."""

    def __init__(self, url: str) -> None:
        self.counters, self.stop = Counters(), threading.Event()
        super().__init__(Stream("front", url), self.counters, self.stop)

    def __enter__(self) -> "Watched":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        assert self.join(10)

    def next(self, timeout: float = 20) -> Frame:
        return self.frames.take(timeout)


def behind(*arrivals: tuple[float, float]) -> list[bool]:
    backlog = Backlog()
    return [backlog.holds(stamp, now) for stamp, now in arrivals]


def test_frames_that_waited_in_a_buffer_are_told_from_live_ones() -> None:
    # Four frames of a camera with 25 a second that all come at once, then three that come as they are made.
    waited = [(0.00, 10.000), (0.04, 10.002), (0.08, 10.004), (0.12, 10.006)]
    live = [(0.16, 10.010), (0.20, 10.049), (0.24, 10.091)]
    assert behind(*waited, *live) == [True] * 5 + [False] * 2


def test_live_frames_are_taken_from_the_second_on_however_they_jitter() -> None:
    live = [(0.00, 5.000), (0.04, 5.045), (0.08, 5.080), (0.12, 5.095), (0.16, 5.170)]
    assert behind(*live) == [True, False, False, False, False]


def test_a_stream_without_time_stamps_counts_as_live() -> None:
    assert behind((0.0, 1.0), (0.0, 1.04), (0.0, 1.08)) == [True, False, False]


def test_why_a_camera_is_absent_is_told(absent_port: int) -> None:
    assert why_absent(Stream("front", f"rtsp://127.0.0.1:{absent_port}/1")) == "is not there (Connection refused)"
    assert why_absent(Stream("front", "rtsp://camera.invalid/1")).startswith("is not there (")
    assert why_absent(Stream("front", "rtsp://cam..local/1")) == "is not there (its host is no host name)"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert why_absent(Stream("front", f"rtsp://127.0.0.1:{listener.getsockname()[1]}/1")) is None


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where something listens that never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_camera_that_never_answers_is_waited_for_and_does_not_hold_up_others(
    silent_port: int, edge: "Edge", caplog: pytest.LogCaptureFixture
) -> None:
    _, url = edge.camera("--dwell", "1")
    with Watched(f"rtsp://admin:secret@127.0.0.1:{silent_port}/1"):
        begin = time.monotonic()
        with Watched(url) as other:
            other.next()
        assert time.monotonic() - begin < 3
        until(lambda: "gives no video" in caplog.text, what="a word about it")
    assert "secret" not in caplog.text


@pytest.mark.e2e
def test_frames_show_what_the_camera_showed_when_they_were_taken(edge: "Edge") -> None:
    _, url = edge.camera("--dwell", "1", "--size", "320x240")
    with Watched(url) as camera:
        for _ in range(40):
            frame = camera.next()
            into = frame.taken % 1
            assert frame.image.shape == (240, 320, 3)
            # Encoding and decoding take their time, so right after a change the old scene may still be seen.
            if into > 0.25:
                shown = scenes.moving(scenes.shown_at(frame.taken, 1), frame.taken, 320, 240, 1)[..., ::-1]
                assert np.abs(shown.astype(int) - frame.image).mean() < 25, f"{into:.2f} s into the scene"


@pytest.mark.e2e
def test_only_frames_from_the_wanted_moment_on_are_handed_out(edge: "Edge") -> None:
    _, url = edge.camera()
    with Watched(url) as camera:
        first = camera.next()
        camera.wanted_from = first.at + 0.5
        until(lambda: camera.counters.now()["captured"] > 15, what="half a second of frames")
        frame = camera.next()
        while frame.at < first.at + 0.5:  # one may have been put before it was told
            frame = camera.next()
        assert frame.at - first.at < 0.7
    assert camera.counters.now()["skipped"] >= 10


@pytest.mark.e2e
def test_a_camera_that_comes_back_is_seen_again_within_a_second_or_so_and_said_once(
    edge: "Edge", caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    camera, url = edge.camera()
    port = url.split(":")[2].split("/")[0]
    with Watched(url) as watched:
        watched.next()
        camera.stop()
        until(lambda: "not there" in caplog.text, what="a word about the camera that went away")
        watched.next()  # the last one from before, which nobody took
        with pytest.raises(TimeoutError):
            watched.next(timeout=0.5)
        edge.camera(port=int(port))
        back = time.monotonic()
        frame = watched.next()
        assert frame.at - back < 3
        assert watched.counters.now()["reconnects"] == 1
    said = [record.getMessage() for record in caplog.records if record.name == "emflow_edge.camera.source"]
    assert [("pixels" in line, "not there" in line, "stopped sending" in line) for line in said] == [
        (True, False, False),
        (False, False, True),
        (False, True, False),
        (True, False, False),
    ]


@pytest.mark.e2e
def test_a_path_that_the_camera_does_not_have_is_said(edge: "Edge", caplog: pytest.LogCaptureFixture) -> None:
    _, url = edge.camera()
    with Watched(url.replace("/front", "/back")) as watched:
        until(lambda: caplog.records, what="a word about it")
    assert "answers, but gives no video" in caplog.records[0].getMessage()
    with pytest.raises(Closed):
        watched.next()
