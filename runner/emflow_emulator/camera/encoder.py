"""Encodes the test camera's picture into RTP: H.264 by x264, packets by FFmpeg's RTP muxer, both through PyAV.

All clients get the same packets, so all need only one encoder; without a client nothing is drawn or encoded. FFmpeg's
muxer is used because it also writes the RTCP sender reports, from which a client computes the Unix time of each frame.
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

# RTP packets that fit into one Ethernet frame, as from a camera on a network.
_PACKET_SIZE = 1400
# Limits for x264. The buffer size limits a key frame to about 150 KB, as in a real camera: more in one burst of UDP
# packets would not fit into a client's default socket buffer, and parts of every key frame would be lost.
_KILOBITS_A_SECOND, _KILOBITS_BUFFERED = 8000, 1200
_SPS, _PPS = 7, 8
# RTCP packet types that an RTP muxer writes (RFC 3550, section 12.1): sender report to application-defined.
_RTCP_TYPES = range(200, 205)
_SENDER_REPORT = 200

log = logging.getLogger(__name__)


class Picture(Protocol):
    """The source of the camera's frames."""

    @property
    def width(self) -> int:
        """Pixels; even."""

    @property
    def height(self) -> int:
        """Pixels; even."""

    def at(self, unix_time: float) -> npt.NDArray[np.uint8]:
        """The picture at a time: uint8, height x width x 3, RGB."""


@dataclass(frozen=True)
class Burst:
    """The packets of one frame, in the order in which they are to be sent."""

    packets: tuple[bytes, ...]
    key: bool


def is_rtcp(packet: bytes) -> bool:
    return packet[1] in _RTCP_TYPES


def is_sender_report(packet: bytes) -> bool:
    return packet[1] == _SENDER_REPORT


class _Sink:
    """The file to which FFmpeg's RTP muxer writes. It flushes after each packet, so each `write` gets one packet."""

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
    """Encodes one H.264 stream in RTP, from its first key frame.

    Args:
        width: pixels, even.
        height: pixels, even.
        rate: frames per second.
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
        # The stream names its colour space, so that every decoder returns the original colours.
        context.colorspace, context.color_range = Colorspace.ITU601, 1

    def encode(self, picture: npt.NDArray[np.uint8], tick: int, *, key: bool = False) -> Burst:
        """Encode the picture of the time `tick` frame periods after the start; `tick` must increase."""
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
    """Options of x264: no delayed frames, one key frame per second, SPS and PPS in each key frame."""
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
    """SPS and PPS of such a stream, from a first frame; this also checks that the encoder works.

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
    """The complete NAL units in one RTP payload: one, several of an aggregate, none of a fragment (RFC 6184, 5)."""
    kind = payload[0] & 0x1F
    if kind < 24:
        return [payload]
    units = []
    if kind == 24:  # STAP-A: a sequence of units, each after its length
        at = 1
        while at + 2 <= len(payload):
            size = int.from_bytes(payload[at : at + 2], "big")
            units.append(payload[at + 2 : at + 2 + size])
            at += 2 + size
    return units


class Stream:
    """Encodes a picture in real time while it has clients, without end.

    Frame times are computed from the start time and not added up, so the rate does not drift; a frame that could not be
    drawn in time is left out.

    Args:
        picture: the source of the frames.
        rate: frames per second.
        deliver: gets each frame's packets, in this stream's thread.
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
        """Add a client: the next frame is a key frame."""
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
