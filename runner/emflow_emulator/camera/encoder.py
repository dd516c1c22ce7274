"""The test camera's picture made into RTP: H.264 by x264, packets by FFmpeg's RTP muxer, both through PyAV.

All clients get the same packets, so a second one costs no second encoder; with no client nothing is drawn and nothing
is encoded. FFmpeg's muxer was taken over packets of our own because it also writes the RTCP sender reports, which tell
a client at which moment of the wall clock each frame was taken.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from emflow.problems import Problem
from emflow_emulator.camera.rtsp_messages import PAYLOAD_TYPE

# RTP packets that fit one Ethernet frame, as a camera on a network sends them.
_PACKET_SIZE = 1400
# What x264 may spend. The buffer bounds a key frame to some 150 KB, as a real camera does: in one burst of UDP packets
# more than that would not fit a client's default socket buffer, and every key frame would arrive with holes.
_KILOBITS_A_SECOND, _KILOBITS_BUFFERED = 8000, 1200
_SPS, _PPS = 7, 8
# RTCP packet types that an RTP muxer writes (RFC 3550, section 12.1): sender report to application-defined.
_RTCP_TYPES = range(200, 205)
_SENDER_REPORT = 200

log = logging.getLogger(__name__)


class Picture(Protocol):
    """What the camera looks at."""

    @property
    def width(self) -> int:
        """Pixels; even."""

    @property
    def height(self) -> int:
        """Pixels; even."""

    def at(self, unix_time: float) -> npt.NDArray[np.uint8]:
        """The picture at a moment: uint8, height x width x 3, RGB."""


@dataclass(frozen=True)
class Burst:
    """The packets of one frame, in the order they are to be sent."""

    packets: tuple[bytes, ...]
    key: bool


def is_rtcp(packet: bytes) -> bool:
    return packet[1] in _RTCP_TYPES


def is_sender_report(packet: bytes) -> bool:
    return packet[1] == _SENDER_REPORT


class _Sink:
    """The file that FFmpeg's RTP muxer writes. It flushes after each packet, so one call of `write` is one packet."""

    def __init__(self) -> None:
        self._packets: list[bytes] = []

    def write(self, packet: bytes) -> int:
        self._packets.append(bytes(packet))
        return len(packet)

    def take(self) -> tuple[bytes, ...]:
        packets = tuple(self._packets)
        self._packets.clear()
        return packets


class Encoder:
    """One run of H.264 in RTP, from a key frame on.

    Args:
        width: pixels, even.
        height: pixels, even.
        rate: frames a second.
        started: Unix time of tick 0, for the sender reports.

    Raises:
        Problem: this PyAV was built without x264.
    """

    def __init__(self, width: int, height: int, rate: int, started: float) -> None:
        self._sink = _Sink()
        self._muxer = av.open(
            self._sink,
            "w",
            format="rtp",
            options={
                "packetsize": str(_PACKET_SIZE),
                "payload_type": str(PAYLOAD_TYPE),
                "start_time_realtime": str(round(started * 1_000_000)),
            },
        )
        try:
            stream = self._muxer.add_stream("libx264", rate=rate, options=_x264_options(rate))
        except (ValueError, av.FFmpegError) as error:
            raise Problem(
                f"the test camera cannot encode H.264: {error}",
                mend="Install PyAV from its wheel (pip install --force-reinstall av), which has x264 in it.",
            ) from error
        assert isinstance(stream, VideoStream)
        self._stream = stream
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        self._time_base = context.time_base = Fraction(1, rate)
        # Said in the stream, so that every decoder gets back the colours that went in.
        context.colorspace, context.color_range = Colorspace.ITU601, 1

    def encode(self, picture: npt.NDArray[np.uint8], tick: int, *, key: bool = False) -> Burst:
        """Encode the picture that was taken `tick` frame times after the start; `tick` only grows."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU601
        )
        frame.pts, frame.time_base = tick, self._time_base
        if key:
            frame.pict_type = PictureType.I
        is_key = False
        for packet in self._stream.encode(frame):
            is_key = is_key or packet.is_keyframe
            self._muxer.mux(packet)
        return Burst(self._sink.take(), is_key)


def _x264_options(rate: int) -> dict[str, str]:
    """No frame is held back, every second is a key frame, and each key frame carries SPS and PPS."""
    parameters = {
        "keyint": rate,
        "min-keyint": 1,
        "scenecut": 0,
        "repeat-headers": 1,
        "threads": 1,
        "vbv-maxrate": _KILOBITS_A_SECOND,
        "vbv-bufsize": _KILOBITS_BUFFERED,
    }
    return {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "crf": "20",
        "forced-idr": "1",
        "x264-params": ":".join(f"{name}={value}" for name, value in parameters.items()),
    }


def parameter_sets(width: int, height: int, rate: int) -> tuple[bytes, bytes]:
    """SPS and PPS of such a stream, taken from a first frame; so the encoder is also known to work.

    Raises:
        Problem: this PyAV was built without x264.
        ValueError: x264 wrote none.
    """
    burst = Encoder(width, height, rate, 0.0).encode(np.zeros((height, width, 3), np.uint8), 0)
    found: dict[int, bytes] = {}
    for packet in burst.packets:
        if not is_rtcp(packet):
            for nal in nal_units(packet[12:]):
                found.setdefault(nal[0] & 0x1F, nal)
    if not found.keys() >= {_SPS, _PPS}:
        raise ValueError("the encoder wrote no parameter sets")
    return found[_SPS], found[_PPS]


def nal_units(payload: bytes) -> list[bytes]:
    """The whole NAL units in one RTP payload: a single one, an aggregate, none of a fragment (RFC 6184, section 5)."""
    kind = payload[0] & 0x1F
    if kind < 24:
        return [payload]
    units = []
    if kind == 24:  # STAP-A: units one after the other, each behind its length
        at = 1
        while at + 2 <= len(payload):
            size = int.from_bytes(payload[at : at + 2], "big")
            units.append(payload[at + 2 : at + 2 + size])
            at += 2 + size
    return units


class Stream:
    """A picture in real time, for ever, to whoever watches.

    Frame times are counted from the start and never added up, so the rate does not drift; a frame whose time has
    passed before it could be drawn is left out.

    Args:
        picture: what the camera looks at.
        rate: frames a second.
        deliver: gets each frame's packets, in this stream's own thread.
    """

    def __init__(self, picture: Picture, rate: int, deliver: Callable[[Burst], Any]) -> None:
        self._picture = picture
        self._rate = rate
        self._deliver = deliver
        self._changed = threading.Condition()
        self._watchers = 0
        self._key_wanted = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Somebody watches from now on: the next frame is a key frame."""
        with self._changed:
            self._watchers += 1
            self._key_wanted = True
            self._changed.notify_all()

    def leave(self) -> None:
        with self._changed:
            self._watchers -= 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while self._somebody_watches():
            log.info("encoding starts")
            self._encode_while_watched()
            log.info("encoding stops")

    def _somebody_watches(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._watchers or self._closed)
            return not self._closed

    def _encode_while_watched(self) -> None:
        began = time.monotonic()
        encoder = Encoder(self._picture.width, self._picture.height, self._rate, time.time())
        tick = 0
        while True:
            with self._changed:
                wait = began + tick / self._rate - time.monotonic()
                self._changed.wait_for(lambda: self._closed or not self._watchers, max(0.0, wait))
                if self._closed or not self._watchers:
                    return
                key, self._key_wanted = self._key_wanted, False
            self._deliver(encoder.encode(self._picture.at(time.time()), tick, key=key))
            tick = max(tick, math.floor((time.monotonic() - began) * self._rate)) + 1
