"""The source against a real RTSP camera, and against some that are none."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.camera.pieces import Scripted, answered, tidy
from emflow.local import scenes
from emflow_edge.camera.decoding import Decoder
from emflow_edge.camera.newest import Closed
from emflow_edge.camera.problems import Lost
from emflow_edge.camera.source import Camera, Credentials, Frame
from emflow_edge.camera.wire import connect
from emflow_edge.problems import EdgeProblem
from emflow_edge.settings.streams import Stream
from emflow_edge.watching.counters import Counters
from support import until

if TYPE_CHECKING:
    from conftest import Edge


class Heard:
    """What a source told of its camera's health, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def present(self, width: int, height: int, fps: float) -> None:
        self.told.append(f"present {width} x {height}")

    def absent(self, reason: str) -> None:
        self.told.append(f"absent: {reason}")

    def frozen(self) -> None:
        self.told.append("frozen")

    def black(self) -> None:
        self.told.append("black")

    def clear(self) -> None:
        self.told.append("clear")


class Watched(Camera):
    """A camera with what belongs to it, for a test."""

    def __init__(self, url: str, credentials: Credentials | None = None, **settings: object) -> None:
        self.counters, self.stop, self.heard = Counters(), threading.Event(), Heard()
        stream = Stream("front", url, **{"every": 0.0, **settings})
        super().__init__(stream, self.counters, self.stop, self.heard, credentials)

    def __enter__(self) -> Watched:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        assert self.join(10)

    def next(self, timeout: float = 20) -> Frame:
        frame = self.frames.take(timeout)
        self.cadence.taken(frame.at, frame.number)
        return frame


def why_absent(host: str, port: int) -> str:
    with pytest.raises(Lost) as caught:
        connect(host, port, 1.0, threading.Event())
    return str(caught.value)


def test_why_a_camera_is_absent_is_told(absent_port: int) -> None:
    assert why_absent("127.0.0.1", absent_port) == "is not there (Connection refused)"
    assert why_absent("camera.invalid", 554).startswith("is not there (")
    assert why_absent("cam..local", 554) == "is not there (its host is no host name)"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where something listens that never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_camera_that_never_answers_is_waited_for_and_does_not_hold_up_others(
    silent_port: int, edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    _, url = edge.camera("--dwell", "1")
    with Watched(f"rtsp://admin:secret@127.0.0.1:{silent_port}/1", open_timeout=1.0):
        begin = time.monotonic()
        with Watched(url) as other:
            other.next()
        assert time.monotonic() - begin < 3
        until(lambda: "answers nothing" in caplog.text, what="a word about it")
    assert "secret" not in caplog.text


def test_an_absent_camera_is_asked_several_times_a_second_and_costs_next_to_nothing(absent_port: int) -> None:
    used = time.process_time()
    with Watched(f"rtsp://127.0.0.1:{absent_port}/1") as watched:
        until(lambda: watched.heard.told == ["absent: is not there (Connection refused)"])
        time.sleep(1)
    assert time.process_time() - used < 0.5


def test_wrong_credentials_are_not_tried_again_at_once(
    scripted: Callable[..., Scripted], caplog: pytest.LogCaptureFixture
) -> None:
    camera = scripted(lambda head: answered(head, "401 Unauthorized", 'WWW-Authenticate: Basic realm="x"\r\n'))
    with Watched(f"rtsp://admin:s3cret@127.0.0.1:{camera.port}/live") as watched:
        until(lambda: camera.methods.count("DESCRIBE") >= 4, what="a second try")
        assert watched.heard.told == ["absent: refuses user and password (401)"]
    assert "s3cret" not in caplog.text
    assert camera.methods.count("DESCRIBE") < 12


def test_a_secret_is_asked_for_its_user_and_password_and_again_after_they_were_refused(
    scripted: Callable[..., Scripted],
) -> None:
    camera = scripted(lambda head: answered(head, "401 Unauthorized", 'WWW-Authenticate: Basic realm="x"\r\n'))
    asked: list[str] = []

    def provider(secret: str) -> tuple[str, str]:
        asked.append(secret)
        return "admin", "s3cret"

    with Watched(f"rtsp://127.0.0.1:{camera.port}/live", provider, secret="arn:x"):
        until(lambda: len(asked) >= 2, what="the secret read again")
    assert set(asked) == {"arn:x"}
    assert "Authorization: Basic YWRtaW46czNjcmV0" in camera.heads[2]


def test_a_secret_that_cannot_be_had_is_told(absent_port: int) -> None:
    def provider(secret: str) -> tuple[str, str]:
        raise EdgeProblem("no such secret")

    url = f"rtsp://127.0.0.1:{absent_port}/live"
    with Watched(url, provider, secret="x") as watched:
        until(lambda: watched.heard.told == ["absent: is not asked: its secret cannot be had (no such secret)"])
    with Watched(url, secret="x") as watched:
        until(lambda: "can be had in Greengrass only" in str(watched.heard.told))


def test_a_camera_that_hangs_up_again_and_again_leaves_nothing_behind(scripted: Callable[..., Scripted]) -> None:
    camera = scripted(lambda head: None if head.startswith("PLAY") else tidy(head))
    with Watched(f"rtsp://127.0.0.1:{camera.port}/live"):
        until(lambda: camera.methods.count("PLAY") >= 2)
        before = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
        until(lambda: camera.methods.count("PLAY") >= 12, what="ten more tries")
        # What is under way at the moment are two sockets and the thread of the camera's side.
        after = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    assert after[0] <= before[0] + 3
    assert after[1] <= before[1] + 2


@pytest.mark.e2e
def test_frames_show_what_the_camera_showed_when_they_were_taken(edge: Edge) -> None:
    _, url = edge.camera("--dwell", "1", "--size", "320x240")
    with Watched(url) as camera:
        for _ in range(40):
            frame = camera.next()
            into = frame.taken % 1
            assert frame.image.shape == (240, 320, 3)
            # A camera on a busy machine draws a little late or early, so near a change another scene may be seen.
            if 0.25 < into < 0.9:
                shown = scenes.moving(scenes.shown_at(frame.taken, 1), frame.taken, 320, 240, 1)[..., ::-1]
                assert np.abs(shown.astype(int) - frame.image).mean() < 25, f"{into:.2f} s into the scene"


@pytest.mark.e2e
def test_only_frames_that_are_due_are_handed_out(edge: Edge) -> None:
    _, url = edge.camera()
    with Watched(url, every=0.5) as camera:
        moments = [camera.next().at for _ in range(5)]
    gaps = [after - before for before, after in pairwise(moments)]
    assert all(0.3 < gap < 0.75 for gap in gaps)
    counted = camera.counters.now()
    assert counted["captured"] == counted["skipped"] + 5
    assert counted["captured"] > 30


@pytest.mark.e2e
def test_every_tenth_frame_is_exactly_that(edge: Edge) -> None:
    _, url = edge.camera()
    with Watched(url, every=0.0, every_frames=10) as camera:
        numbers = [camera.next().number for _ in range(8)]
    assert {after - before for before, after in pairwise(numbers)} == {10}


@pytest.mark.e2e
@pytest.mark.parametrize("settings", [{"transport": "udp"}, {"backend": "opencv"}, {"every": 1.0}])
def test_a_camera_is_seen_each_way(edge: Edge, settings: dict[str, object]) -> None:
    _, url = edge.camera("--size", "320x240")
    with Watched(url, **settings) as camera:
        for _ in range(3):
            frame = camera.next()
            assert frame.image.shape == (240, 320, 3)
            assert abs(time.time() - frame.taken) < 1
    assert camera.heard.told == ["present 320 x 240"]


@pytest.mark.e2e
def test_a_camera_that_stops_with_its_connection_open_is_noticed_and_nothing_old_is_seen_afterwards(
    edge: Edge,
) -> None:
    camera, url = edge.camera("--dwell", "1")
    with Watched(url, read_timeout=0.5) as watched:
        watched.next()
        os.kill(camera.pid, signal.SIGSTOP)
        until(lambda: "absent: sent nothing for 0.5 s" in watched.heard.told, what="the silence noticed")
        back = time.time()
        os.kill(camera.pid, signal.SIGCONT)
        frame = watched.next()
        assert time.time() - back < 3
        assert frame.taken > back - 0.1
    assert watched.heard.told.count("present 640 x 480") == 2
    assert watched.counters.now()["reconnects"] == 1


@pytest.mark.e2e
def test_frames_do_not_grow_older_when_decoding_is_slower_than_the_camera(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = Decoder.decode

    def slow(self: Decoder, data: bytes, number: int) -> object:
        time.sleep(0.08)
        return decode(self, data, number)

    monkeypatch.setattr(Decoder, "decode", slow)
    _, url = edge.camera("--fps", "25")
    with Watched(url) as camera:
        end, ages = time.monotonic() + 8, []
        while time.monotonic() < end:
            frame = camera.next()
            ages.append(time.time() - frame.taken)
    assert len(ages) > 5
    # Without leaving out what has piled up it would be four seconds by now.
    assert max(ages) < 1.8


@pytest.mark.e2e
@pytest.mark.parametrize("state", ["frozen", "black"])
def test_a_frozen_and_a_black_picture_are_told_once_when_they_begin_and_once_when_they_end(
    edge: Edge, tmp_path: Path, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    still = scenes.draw(scenes.SCENES[0], 320, 240, np.random.default_rng(1))
    picture = tmp_path / "still.png"
    cv2.imwrite(str(picture), still if state == "frozen" else np.full_like(still, 2))
    camera, url = edge.camera("--image", str(picture))
    with Watched(url, frozen_after=1.0, black_after=1.0) as watched:
        until(lambda: watched.heard.told == ["present 320 x 240", state], what=f"the {state} picture told")
        told = watched.counters.now()["captured"]
        until(lambda: watched.counters.now()["captured"] > told + 50, what="two more seconds")
        camera.stop()
        until(lambda: "absent" in watched.heard.told[-1], what="the camera's end told")
    assert watched.heard.told[:3] == ["present 320 x 240", state, "clear"]
    assert caplog.text.count("camera front: its picture") == 1


@pytest.mark.e2e
def test_a_camera_that_comes_back_is_seen_again_within_a_second_or_so_and_said_once(
    edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    camera, url = edge.camera()
    port = url.split(":")[2].split("/")[0]
    with Watched(url) as watched:
        watched.next()
        camera.stop()
        until(lambda: "not there" in caplog.text, what="a word about the camera that went away")
        with pytest.raises(TimeoutError):
            watched.next(timeout=0.5)  # nor is the last one from before, which nobody took
        edge.camera(port=int(port))
        back = time.monotonic()
        frame = watched.next()
        assert frame.at - back < 3
        assert watched.heard.told[0] == watched.heard.told[-1] == "present 640 x 480"
        assert watched.counters.now()["reconnects"] == 1
    said = [record.getMessage() for record in caplog.records if record.name == "emflow_edge.camera.source"]
    assert [("pixels" in line, "not there" in line, "closed the connection" in line) for line in said] == [
        (True, False, False),
        (False, False, True),
        (False, True, False),
        (True, False, False),
    ]


@pytest.mark.e2e
def test_a_path_that_the_camera_does_not_have_is_said(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    _, url = edge.camera()
    with Watched(url.replace("/front", "/back")) as watched:
        until(lambda: caplog.records, what="a word about it")
    assert "has no such stream (404: is the path right?)" in caplog.records[0].getMessage()
    with pytest.raises(Closed):
        watched.next()
