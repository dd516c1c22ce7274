"""Cameras that mean harm, or are broken: whatever they send costs their own stream and nothing else."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from edge.camera.scripted_camera import SDP, ScriptedCamera, answered, tidy
from emflow_edge.camera import opencv_camera, registry
from emflow_edge.camera.open_camera import ArrivedFrame
from emflow_edge.camera.reader import CameraReader
from emflow_edge.metrics.counters import Counters
from emflow_edge.rtsp.auth import best_challenge
from emflow_edge.rtsp.client import RtspSession
from emflow_edge.rtsp.depacketizer import Depacketizer
from emflow_edge.rtsp.errors import CameraLost
from emflow_edge.rtsp.framing import RtspReader
from emflow_edge.rtsp.rtp import RtpPacket
from emflow_edge.rtsp.sdp import VideoTrack
from emflow_schema.edge_config import Stream
from emflow_schema.stream_url import split
from emflow_schema.units import DeviceDuration
from support import PATIENCE, until

Start = Callable[..., ScriptedCamera]
DIGITS = "9" * 5000
PACKET = struct.pack("!BBHII", 0x80, 0x80 | 96, 1, 0, 7) + b"\x65picture"


class Told:
    """Why a camera is absent, each time that it is another reason."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def absent(self, reason: str) -> None:
        self.reasons.append(reason)

    def present(self, width: int, height: int, fps: float) -> None: ...

    def frozen(self) -> None: ...

    def black(self) -> None: ...

    def clear(self) -> None: ...


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("DESCRIBE", "", f"v=0\r\nm=video 0 RTP/AVP {DIGITS} 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("DESCRIBE", "Content-Base: //[no\r\n", SDP),
        ("SETUP", f"Session: 1;timeout={DIGITS}\r\n", ""),
        ("SETUP", f"Session: 1\r\nTransport: RTP/AVP/TCP;interleaved={DIGITS}\r\n", ""),
    ],
)
def test_values_that_cannot_be_are_read_over(scripted: Start, method: str, headers: str, body: str) -> None:
    camera = scripted(
        lambda head: answered(head, headers=headers, body=body) if head.startswith(method) else tidy(head)
    )
    camera.video = b"$\0" + len(PACKET).to_bytes(2, "big") + PACKET
    session = RtspSession(split(f"rtsp://127.0.0.1:{camera.port}/"), False, ("", ""), None, 30.0, threading.Event())
    assert [one.sequence for one, _ in session.receive(30)] == [1]
    session.close()


def test_a_message_that_comes_byte_by_byte_is_understood() -> None:
    buffer, found = bytearray(), []
    reader = RtspReader(buffer)
    for byte in b"junk\0RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n$\0\0\2abOPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n":
        buffer.append(byte)
        taken = reader.take()
        if taken is not None:
            found.append(taken if isinstance(taken, bytes) else taken[0].get("cseq"))
    assert found == ["1", b"\0ab", "9"]


def test_a_challenge_without_sense_is_read_in_no_time() -> None:
    begin = time.monotonic()
    assert best_challenge(["Digest " + "a" * 60_000]) is None
    assert time.monotonic() - begin < 20  # by a pattern that looks back, it would be minutes


def test_a_reason_is_cut_short_and_moves_no_cursor() -> None:
    said = str(CameraLost("answers with 500 \x1b[31m\r" + "z" * 5000))
    assert said.startswith("answers with 500 ?[31m?zzz")
    assert len(said) == 200


def test_a_camera_with_another_reason_each_time_does_not_fill_the_log(
    scripted: Start, caplog: pytest.LogCaptureFixture
) -> None:
    camera = scripted(lambda head: answered(head, status=f"500 {os.urandom(9).hex()}"))
    told, stop = Told(), threading.Event()
    source = CameraReader(Stream("front", f"rtsp://127.0.0.1:{camera.port}/"), Counters(), stop, told)
    source.start()
    until(lambda: len(told.reasons) > 10)
    stop.set()
    assert source.join(PATIENCE)
    assert caplog.text.count("retrying until it can be reached") <= 8


def test_what_nobody_foresaw_costs_the_camera_and_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise MemoryError("rtsp://admin:s3cret@camera/")

    monkeypatch.setattr(registry, "open_camera", opened)
    told, stop = Told(), threading.Event()
    failed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    source = CameraReader(Stream("front", "rtsp://camera/"), Counters(), stop, told)
    source.start()
    until(lambda: told.reasons)
    assert not source.join(0.1)
    stop.set()
    assert source.join(PATIENCE)
    assert told.reasons == ["cannot be read (unexpected error: MemoryError; see the log at level debug)"]
    assert not failed


def test_pictures_in_crumbs_are_not_kept_for_ever() -> None:
    units = Depacketizer(VideoTrack("H264", 96))
    crumbs = b"\x78" + b"\0\1\x41" * 20_000
    for number in range(20):
        units.push(RtpPacket(False, 96, number, 0, 7, crumbs), 0.0)
        assert len(units._parts) <= 120_000


@pytest.mark.parametrize("side", [40_000, 65_535])
def test_a_jpeg_that_says_to_be_enormous_is_left_out_and_reported(scripted: Start, side: int) -> None:
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = data.find(b"\xff\xc0")
    data[at + 5 : at + 9] = side.to_bytes(2, "big") * 2
    part = b"--f\r\nContent-Length: %d\r\n\r\n" % len(data) + bytes(data) + b"\r\n"
    head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=f\r\n\r\n"
    camera = scripted(lambda _: head)
    camera.endless = part
    stream = Stream("front", f"http://127.0.0.1:{camera.port}/", read_timeout=DeviceDuration("0.1s"))
    capture = registry.open_camera(stream, ("", ""), threading.Event())

    def decode_all() -> None:
        while True:
            capture.grab()
            assert capture.decode(alone=True) == []

    with pytest.raises(CameraLost, match="cannot be decoded"):
        decode_all()
    capture.close()


def test_those_who_want_the_same_of_opencv_do_not_wait_for_each_other() -> None:
    both, different = threading.Event(), threading.Event()
    before = os.environ.get(opencv_camera.OPTIONS)

    def other(value: str, seen: threading.Event) -> None:
        with opencv_camera.environment(opencv_camera.OPTIONS, value):
            seen.set()

    with opencv_camera.environment(opencv_camera.OPTIONS, "one"):
        threads = [
            threading.Thread(target=other, args=("one", both)),
            threading.Thread(target=other, args=("two", different)),
        ]
        for thread in threads:
            thread.start()
        assert both.wait(PATIENCE)
        assert os.environ[opencv_camera.OPTIONS] == "one"
        assert not different.wait(0.1)
    for thread in threads:
        thread.join(PATIENCE)
    assert different.is_set()
    assert os.environ.get(opencv_camera.OPTIONS) == before


def test_a_camera_all_of_whose_pictures_have_holes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Holed:
        fps = 25.0

        def grab(self) -> ArrivedFrame:
            now[0] += 0.04
            return ArrivedFrame(now[0], now[0], intact=False)

        def close(self) -> None: ...

    now = [1000.0]
    monkeypatch.setattr(registry, "open_camera", lambda *_, **__: Holed())
    told, stop, counters = Told(), threading.Event(), Counters()
    source = CameraReader(Stream("front", "rtsp://camera/"), counters, stop, told)
    source.start()
    until(lambda: told.reasons)
    stop.set()
    assert source.join(PATIENCE)
    assert told.reasons == ["loses packets: no picture could be decoded for 10 s"]
    assert counters.snapshot()["captured"] == counters.snapshot()["skipped"] > 200
