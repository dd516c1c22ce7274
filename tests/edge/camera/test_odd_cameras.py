"""The source against RTSP cameras that send real pictures ten times a second, each with one oddity."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from edge.camera.odd_streams import interleaved, packets
from edge.camera.recorded_health import RunningCamera
from edge.camera.scripted_camera import SDP, ScriptedCamera, answered, sequence, tidy
from emflow_edge.camera import frame_selection, reader
from emflow_edge.camera.frame import Frame
from emflow_schema.units import DeviceDuration
from support import until

Start = Callable[..., ScriptedCamera]
FPS = 10


def playing(camera: ScriptedCamera, burst: int = 1, **odd: Any) -> str:
    """Let a camera play, so many pictures at once; its URL."""

    def play(client: socket.socket) -> None:
        begin = time.monotonic()
        for number, picture in enumerate(packets("H264", count=10_000, **odd)):
            for packet in picture:
                client.sendall(interleaved(packet))
            if (number + 1) % burst == 0:
                time.sleep(max(0.0, begin + (number + 1) / FPS - time.monotonic()))

    camera.play = play
    return f"rtsp://127.0.0.1:{camera.port}/live"


def is_fresh(frame: Frame) -> bool:
    """Whether its times are those of its arrival, a moment ago; on a busy machine, not every frame comes at once."""
    ages = time.time() - frame.captured_at, time.monotonic() - frame.captured_monotonic
    assert ages[1] >= 0
    return abs(ages[0]) < 0.5 and ages[1] < 0.5


def test_results_come_whatever_the_clock_of_the_camera_says(scripted: Start, caplog: pytest.LogCaptureFixture) -> None:
    oddities = ("twice as fast", "half as fast", "constant", "backwards", "jumping")
    with contextlib.ExitStack() as stack:
        # All at once: each needs seconds until its clock is known to be wrong.
        cameras = {stamps: scripted() for stamps in oddities}
        sources = {
            stamps: stack.enter_context(RunningCamera(playing(camera, stamps=stamps)))
            for stamps, camera in cameras.items()
        }

        def noticed(stamps: str) -> int:
            lines = [line for line in caplog.messages if f":{cameras[stamps].port}/" in line]
            return sum("do not keep pace with time" in line for line in lines)

        for stamps, source in sources.items():
            until(lambda source=source: source.counters.snapshot()["captured"] > 30, what=f"frames: {stamps}")
            if stamps != "jumping":
                until(lambda stamps=stamps: noticed(stamps), what=f"a notice: {stamps}")
            what = f"a frame with the time of its arrival: {stamps}"
            until(lambda source=source: is_fresh(source.next()), what=what)
    for stamps, source in sources.items():
        assert source.heard.told == ["present 320 x 240"], stamps
        assert noticed(stamps) <= 1, stamps


def test_a_camera_that_sends_in_bursts_is_read_and_said_so_once(
    scripted: Start, caplog: pytest.LogCaptureFixture
) -> None:
    with RunningCamera(playing(scripted(), burst=15)) as source:
        for _ in range(3):
            until(lambda: is_fresh(source.next()), what="one of the newest frames of a burst")
    assert caplog.text.count("sends its frames in bursts") == 1


@pytest.mark.parametrize("oddity", ["start codes", "CSeq", "marks"])
def test_another_way_is_taken_at_once_and_said_once(
    scripted: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, oddity: str
) -> None:
    monkeypatch.setattr(reader, "_WITHOUT_PICTURE", 60.0)
    camera = scripted()
    if oddity == "CSeq":
        camera.answer = lambda head: tidy(head).replace(f"CSeq: {sequence(head)}".encode(), b"CSeq: 0")
    odd: dict[str, Any] = {
        "start codes": {"packing": "codes between all units 4"},
        "CSeq": {},
        "marks": {"marks": "every packet"},
    }
    with RunningCamera(playing(camera, **odd[oddity]), open_timeout=DeviceDuration("60s")) as source:
        begin = time.monotonic()
        for _ in range(10):
            source.next()
        assert time.monotonic() - begin < 20
    said = {
        "start codes": "sends start codes in its RTP packets; the units between them are read",
        "CSeq": "answers with wrong numbers (CSeq); its answers are taken in their order",
    }
    if oddity in said:
        assert caplog.text.count(f"camera front at rtsp://127.0.0.1:{camera.port}/live {said[oddity]}") == 1


def test_a_camera_of_which_no_frame_can_be_decoded_is_opened_again_with_a_warning(
    scripted: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_WITHOUT_PICTURE", 0.5)
    monkeypatch.setattr(frame_selection, "_IMPATIENT", 0.2)
    camera = scripted()
    with RunningCamera(playing(camera, keys=False)) as source:
        until(lambda: camera.methods.count("PLAY") >= 2)
        assert source.heard.told == ["absent: sends frames, but none of them can be decoded (is there no key frame?)"]
        source._patience = reader._WITHOUT_PICTURE
        playing(camera)
        source.next()
    assert caplog.text.count("none of them can be decoded") == 1


def test_a_camera_that_talks_and_shows_nothing_is_opened_again_with_a_warning(
    scripted: Start, caplog: pytest.LogCaptureFixture
) -> None:
    camera = scripted(lambda head: answered(head, body=SDP) if head.startswith("DESCRIBE") else tidy(head))
    camera.endless = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"
    url = f"rtsp://127.0.0.1:{camera.port}/live"
    with RunningCamera(url, read_timeout=DeviceDuration("0.3s")):
        until(lambda: camera.methods.count("PLAY") >= 3)
    assert "sent no complete picture for 0.3 s, but" in caplog.text
