"""Whole coded pictures out of RTP: H.264 by RFC 6184 and H.265 by RFC 7798, complete with their last packet.

A demuxer that looks at the bytes alone knows that a picture is complete when the next one begins, one frame interval
later. RTP says it at once, by the marker on a picture's last packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from emflow_edge.rtsp.rtp import RtpPacket, SequenceUnwrapper
from emflow_edge.rtsp.sdp import VideoTrack

START = b"\0\0\0\1"
# No camera's picture has more; what has is no picture.
_LARGEST = 32 << 20
# Nor in more pieces: each takes more memory than a small one has bytes.
_MOST_PARTS = 1 << 16


@dataclass(frozen=True)
class AccessUnit:
    """One coded picture, with start codes.

    key: decoding can begin with it; spare: no other picture needs it; intact: all of it came; follows: and so did all
    that was sent before it; stamp: the camera's clock in ticks, counted on; at: when its last byte was here.
    """

    data: bytes
    key: bool
    disposable: bool
    intact: bool
    follows: bool
    stamp: int
    arrived_at: float


class NalHeader(NamedTuple):
    """What a NAL unit's header says. Of a slice, `key` and `disposable` as in `AccessUnit`; sets: it is a parameter
    set."""

    slice: bool
    key: bool
    disposable: bool
    sets: bool


class H264:
    """NAL unit headers and payload structures of H.264. Interleaved packets (mode 2) no camera sends."""

    size = 1
    aggregate, fragment = 24, 28

    @staticmethod
    def kind(payload: bytes) -> int:
        return payload[0] & 31

    @staticmethod
    def nal(unit: bytes) -> NalHeader:
        kind = unit[0] & 31
        # A recovery point (supplemental information of type 6) is where streams without IDR pictures can be joined.
        key = kind == 5 or (kind == 6 and len(unit) > 1 and unit[1] == 6)
        return NalHeader(1 <= kind <= 5, key, not unit[0] & 0x60, kind in (7, 8))

    @staticmethod
    def whole_header(payload: bytes) -> bytes:
        """The header of the unit that a fragment is of."""
        return bytes([(payload[0] & 0xE0) | (payload[1] & 31)])


class H265:
    """NAL unit headers and payload structures of H.265."""

    size = 2
    aggregate, fragment = 48, 49

    @staticmethod
    def kind(payload: bytes) -> int:
        return (payload[0] >> 1) & 63

    @staticmethod
    def nal(unit: bytes) -> NalHeader:
        kind = (unit[0] >> 1) & 63
        return NalHeader(kind < 32, 16 <= kind <= 21, kind < 16 and not kind & 1, kind in (32, 33, 34))

    @staticmethod
    def whole_header(payload: bytes) -> bytes:
        return bytes([(payload[0] & 0x81) | (payload[2] & 63) << 1, payload[1]])


class Depacketizer:
    """Packets in, in the order they were sent; pictures out.

    If a camera sets no marker, a picture ends with the time stamp of the next one; if it marks every slice, this is
    detected at the second picture, and time stamps are used from then on.
    """

    def __init__(self, video: VideoTrack) -> None:
        self._codec = H265 if video.codec == "H265" else H264
        self._payload_type = video.payload_type
        # Decoding order numbers that we skip: two bytes before a unit.
        self._order = 2 if video.numbered and video.codec == "H265" else 0
        self._stamps = SequenceUnwrapper(32)
        self._sequence: int | None = None
        self._ssrc: int | None = None
        self._marks_lie = False
        self._ended: int | None = None
        self._follows = False
        self._reset()

    def _reset(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0
        self._stamp: int | None = None
        self._at = 0.0
        self._open = False
        self._slices = self._key = False
        self._disposable = self._intact = True

    def push(self, packet: RtpPacket, at: float) -> list[AccessUnit]:
        """Take the next packet; the pictures that are complete now."""
        if packet.payload_type != self._payload_type:
            return []
        done: list[AccessUnit] = []
        gap = False
        if packet.ssrc != self._ssrc:
            self._ssrc, gap = packet.ssrc, self._ssrc is not None
        elif self._sequence is not None:
            ahead = (packet.sequence - self._sequence) & 0xFFFF
            if ahead == 0:
                return []
            gap = ahead != 1
        self._sequence = packet.sequence
        if self._stamp is not None and packet.stamp != self._stamp:
            if self._slices:
                self._intact = self._intact and not gap
                done.append(self._end())
            elif not self._parts or not self._intact:
                self._reset()
        if gap:
            self._intact = self._follows = False
        self._stamp, self._at = packet.stamp, at
        self._read(packet.payload)
        if self._length > _LARGEST or len(self._parts) > _MOST_PARTS:
            self._reset()
            self._intact = self._follows = False
        if self._slices and packet.stamp == self._ended and not gap:
            self._marks_lie = True
        if packet.marker and self._slices and not self._marks_lie:
            done.append(self._end())
        return done

    def _end(self) -> AccessUnit:
        assert self._stamp is not None
        unit = AccessUnit(
            data=b"".join(self._parts),
            key=self._key,
            disposable=self._disposable,
            intact=self._intact and not self._open,
            follows=self._follows,
            stamp=self._stamps.unwrap(self._stamp),
            arrived_at=self._at,
        )
        self._ended, self._follows = self._stamp, unit.intact
        self._reset()
        return unit

    def _read(self, payload: bytes) -> None:
        codec = self._codec
        if len(payload) < codec.size:
            return
        kind = codec.kind(payload)
        if kind == codec.fragment:
            self._fragment(payload)
        elif self._open:
            # The end of the fragments before is missing.
            self._intact = self._open = False
        if kind == codec.aggregate:
            at = codec.size + self._order
            while at + 2 <= len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                unit = payload[at + 2 : at + 2 + size]
                if len(unit) < size or size < codec.size:
                    # Cameras leave zeros behind the last one.
                    self._intact = self._intact and not any(unit)
                    break
                self._add(unit)
                at += 2 + size + (1 if self._order else 0)
        elif kind < codec.aggregate:
            self._add(payload if not self._order else payload[:2] + payload[4:])
        elif kind != codec.fragment:
            self._intact = False

    def _fragment(self, payload: bytes) -> None:
        size = self._codec.size
        if len(payload) < size + 2 + self._order:
            self._intact = False
            return
        flags = payload[size]
        body = payload[size + 1 + self._order if flags & 0x80 else size + 1 :]
        if flags & 0x80:
            self._intact = self._intact and not self._open
            self._open = True
            self._add(self._codec.whole_header(payload) + body)
        elif self._open:
            self._parts.append(body)
            self._length += len(body)
        else:
            # Its beginning is missing; so is it known that a picture was there.
            self._intact, self._slices = False, True
        if flags & 0x40:
            self._open = False

    def _add(self, unit: bytes) -> None:
        if len(unit) < self._codec.size:
            return
        nal = self._codec.nal(unit)
        self._slices = self._slices or nal.slice
        self._key = self._key or nal.key
        if nal.slice:
            self._disposable = self._disposable and nal.disposable
        self._parts += (START, unit)
        self._length += len(unit)
