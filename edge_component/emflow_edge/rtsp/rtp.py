"""RTP packets (RFC 3550): their fields, and their order where the network does not keep it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

_HEADER = struct.Struct("!BBHII")
# How many packets, and for how many seconds, those that came early wait for one that did not come.
_WINDOW, _PATIENCE = 64, 0.03


class RtpPacket(NamedTuple):
    """One packet. stamp: ticks of the clock that the SDP names; marker: the last one of a frame."""

    marker: bool
    payload_type: int
    sequence: int
    stamp: int
    ssrc: int
    payload: bytes


def parse_packet(data: bytes) -> RtpPacket | None:
    """Read a packet; None when it is none, or has no payload."""
    if len(data) < 12:
        return None
    first, second, sequence, stamp, ssrc = _HEADER.unpack_from(data)
    if first >> 6 != 2:
        return None
    begin, end = 12 + 4 * (first & 15), len(data)
    if first & 0x10:  # header extension
        if begin + 4 > end:
            return None
        begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4], "big")
    if first & 0x20:  # padding, whose last byte counts it
        end -= data[-1]
    if begin >= end:
        return None
    return RtpPacket(second >= 128, second & 127, sequence, stamp, ssrc, data[begin:end])


class SequenceUnwrapper:
    """Counts on where a number of some bits begins anew at 0."""

    def __init__(self, bits: int) -> None:
        self._size = 1 << bits
        self._last: int | None = None

    def unwrap(self, value: int) -> int:
        """The number, the nearest that it can mean to the one before."""
        if self._last is None:
            self._last = value
        else:
            ahead = (value - self._last) % self._size
            self._last += ahead - self._size if ahead >= self._size // 2 else ahead
        return self._last


@dataclass
class _Held:
    packet: RtpPacket
    arrived_at: float


class ReorderBuffer:
    """Packets in the order in which they were sent: those that come early wait a little, those that come twice go."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._ssrc = 0
        self._held: dict[int, _Held] = {}

    def push(self, one: RtpPacket, at: float) -> list[tuple[RtpPacket, float]]:
        """Take a packet that came at `arrived_at` seconds; those that are next now, each with when it came."""
        if self._next is None or one.ssrc != self._ssrc:
            self._held.clear()
            self._next, self._ssrc = one.sequence, one.ssrc
        ahead = (one.sequence - self._next) & 0xFFFF
        if ahead >= 0x8000:
            if ahead < 0xFF00:
                # Not late but from elsewhere: the camera counts from anew.
                self._held.clear()
                self._next = one.sequence
            else:
                return self._ready(at)
        self._held.setdefault(one.sequence, _Held(one, at))
        return self._ready(at)

    def _ready(self, now: float) -> list[tuple[RtpPacket, float]]:
        ready: list[tuple[RtpPacket, float]] = []
        while self._held:
            held = self._held.pop(self._next, None)  # type: ignore[arg-type]
            if held is None:
                first = min(self._held, key=lambda sequence: (sequence - self._next) & 0xFFFF)  # type: ignore[operator]
                if len(self._held) < _WINDOW and now - min(one.arrived_at for one in self._held.values()) < _PATIENCE:
                    break
                self._next = first
                continue
            ready.append((held.packet, held.arrived_at))
            self._next = (held.packet.sequence + 1) & 0xFFFF
        return ready
