"""The source against a real RTSP camera."""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edge.camera.recorded_health import RunningCamera
from emflow_edge.camera.pyav_decoder import PyavDecoder
from emflow_edge.latest_slot import SlotClosed
from emflow_emulator.camera import scenes
from emflow_schema.units import DeviceDuration, Interval
from support import pairwise, until

if TYPE_CHECKING:
    from edge.conftest import Edge


@pytest.mark.e2e
def test_frames_show_what_the_camera_showed_when_they_were_taken(edge: Edge) -> None:
    dwell, compared = 2, 0
    _, url = edge.camera("--dwell", str(dwell), "--size", "320x240")
    with RunningCamera(url) as camera:
        for _ in range(60):
            frame = camera.next()
            at = frame.captured_at
            assert frame.image.shape == (240, 320, 3)
            # A camera on a busy machine draws a little late or early, so near a change another scene may be seen.
            if 0.25 < at % dwell < dwell - 0.5:
                shown = scenes.moving(scenes.shown_at(at, dwell), at, 320, 240, dwell)[..., ::-1]
                assert np.abs(shown.astype(int) - frame.image).mean() < 25, f"{at % dwell:.2f} s into the scene"
                compared += 1
    assert compared > 10


@pytest.mark.e2e
def test_only_frames_that_are_due_are_handed_out(edge: Edge) -> None:
    _, url = edge.camera()
    with RunningCamera(url, every=Interval("0.5s")) as camera:
        first, *others = (camera.next().arrived_at for _ in range(5))
    # One that is late does not delay those after it, so two may be nearer to each other than half a second.
    assert all(at - first >= 0.5 * number for number, at in enumerate(others, 1)), others
    assert others[-1] - first < 10
    counted = camera.counters.snapshot()
    assert counted["captured"] == counted["skipped"] + 5
    assert counted["captured"] > 15


@pytest.mark.e2e
def test_every_tenth_frame_is_exactly_that(edge: Edge) -> None:
    _, url = edge.camera()
    with RunningCamera(url, every=Interval("10 frames")) as camera:
        numbers = [camera.next().number for _ in range(8)]
    gaps = [after - before for before, after in pairwise(numbers)]
    # The next one replaces a frame for which nobody comes in time, as may be on a busy machine.
    assert (min(gaps), statistics.median(gaps)) == (10, 10)


@pytest.mark.e2e
@pytest.mark.parametrize("settings", [{"transport": "udp"}, {"backend": "opencv"}, {"every": Interval("1s")}])
def test_a_camera_is_seen_each_way(edge: Edge, settings: dict[str, Any]) -> None:
    _, url = edge.camera("--size", "320x240")
    with RunningCamera(url, **settings) as camera:
        for _ in range(3):
            frame = camera.next()
            assert frame.image.shape == (240, 320, 3)
            assert abs(time.time() - frame.captured_at) < 10
    assert camera.heard.told == ["present 320 x 240"]


@pytest.mark.e2e
def test_a_stopped_camera_is_noticed_and_no_old_frame_is_used_afterwards(
    edge: Edge,
) -> None:
    camera, url = edge.camera("--dwell", "1")
    with RunningCamera(url, read_timeout=DeviceDuration("0.5s")) as watched:
        watched.next()
        os.kill(camera.pid, signal.SIGSTOP)
        until(lambda: "absent: sent nothing for 0.5 s" in watched.heard.told, what="the silence noticed")
        back = time.time()
        os.kill(camera.pid, signal.SIGCONT)
        frame = watched.next()
        assert frame.captured_at > back - 0.1
    assert watched.heard.told.count("present 640 x 480") == 2
    assert watched.counters.snapshot()["reconnects"] == 1


@pytest.mark.e2e
@pytest.mark.alone
def test_frames_do_not_grow_older_when_decoding_is_slower_than_the_camera(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = PyavDecoder.decode

    def slow(self: PyavDecoder, data: bytes, number: int) -> object:
        time.sleep(0.16)  # four times as long as it takes the camera to send the next one
        return decode(self, data, number)

    monkeypatch.setattr(PyavDecoder, "decode", slow)
    _, url = edge.camera("--fps", "25")
    with RunningCamera(url) as camera:
        end, ages = time.monotonic() + 8, []
        while time.monotonic() < end:
            frame = camera.next()
            ages.append(time.time() - frame.captured_at)
    assert len(ages) > 5
    # Without leaving out what has piled up it would be six seconds by now.
    assert max(ages) < 4


@pytest.mark.e2e
@pytest.mark.parametrize("state", ["frozen", "black"])
def test_frozen_and_black_pictures_are_reported_at_begin_and_end(
    edge: Edge, tmp_path: Path, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    still = scenes.draw(scenes.SCENES[0], 320, 240, np.random.default_rng(1))
    picture = tmp_path / "still.png"
    cv2.imwrite(str(picture), still if state == "frozen" else np.full_like(still, 2))
    camera, url = edge.camera("--image", str(picture))
    with RunningCamera(url, frozen_after=DeviceDuration("1s"), black_after=DeviceDuration("1s")) as watched:
        until(lambda: watched.heard.told == ["present 320 x 240", state], what=f"the {state} picture told")
        told = watched.counters.snapshot()["captured"]
        until(lambda: watched.counters.snapshot()["captured"] > told + 50, what="two more seconds")
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
    with RunningCamera(url) as watched:
        watched.next()
        camera.stop()
        until(lambda: "cannot be reached" in caplog.text, what="a word about the camera that went away")
        with pytest.raises(TimeoutError):
            watched.next(timeout=0.5)  # nor is the last one from before, which nobody took
        edge.camera(port=int(port))
        back = time.monotonic()
        frame = watched.next()
        assert frame.arrived_at - back < 10
        assert watched.heard.told[0] == watched.heard.told[-1] == "present 640 x 480"
        assert watched.counters.snapshot()["reconnects"] == 1
    said = [record.getMessage() for record in caplog.records if record.name == "emflow_edge.camera.reader"]
    assert [("pixels" in line, "cannot be reached" in line, "closed the connection" in line) for line in said] == [
        (True, False, False),
        (False, False, True),
        (False, True, False),
        (True, False, False),
    ]


@pytest.mark.e2e
def test_a_path_that_the_camera_does_not_have_is_said(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    _, url = edge.camera()
    with RunningCamera(url.replace("/front", "/back")) as watched:
        until(lambda: caplog.records, what="a word about it")
    assert "has no such stream (404: is the path right?)" in caplog.records[0].getMessage()
    with pytest.raises(SlotClosed):
        watched.next()
