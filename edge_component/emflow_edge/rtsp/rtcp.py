"""RTCP (RFC 3550, section 6): the camera's clock out of its sender reports, and our receiver reports to it."""

from __future__ import annotations

import struct
import time
from typing import NamedTuple

# Seconds from 1900, where NTP begins, to 1970.
_NTP = 2208988800
_SENDER, _RECEIVER, _DESCRIPTION, _BYE = 200, 201, 202, 203
# A camera's clock counts as set when it says that a frame is at most so many seconds old. A frame from the future is
# taken for one of now: clocks that are set still differ by milliseconds.
_OLDEST, _AHEAD = 2.0, 0.25


class SenderReport(NamedTuple):
    """A sender report: at Unix time `unix` the RTP clock stood at `stamp`; ntp: the middle 32 bits of that time."""

    ssrc: int
    unix: float
    stamp: int
    ntp: int


def parse_compound(data: bytes) -> tuple[SenderReport | None, bool]:
    """The sender report in a compound packet, and whether it says goodbye."""
    report, bye, at = None, False, 0
    while at + 8 <= len(data) and data[at] >> 6 == 2:
        kind, size = data[at + 1], 4 * (int.from_bytes(data[at + 2 : at + 4], "big") + 1)
        if kind == _SENDER and at + 20 <= len(data):
            ssrc, seconds, fraction, stamp = struct.unpack_from("!IIII", data, at + 4)
            unix = seconds - _NTP + fraction / (1 << 32)
            report = SenderReport(ssrc, unix, stamp, (seconds & 0xFFFF) << 16 | fraction >> 16)
        bye = bye or kind == _BYE
        at += size
    return report, bye


class CameraClock:
    """When the camera took a frame, by its own clock where that is set, else by when the frame was here."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._report: SenderReport | None = None

    def report(self, report: SenderReport) -> None:
        self._report = report

    def capture_time(self, stamp: int, arrived: float) -> float:
        """Unix time of the frame with this RTP time stamp, which arrived at Unix time `arrived`; never later."""
        if self._report is None:
            return arrived
        ahead = (stamp - self._report.stamp) & 0xFFFFFFFF
        ticks = ahead - (1 << 32) if ahead >= 1 << 31 else ahead
        age = arrived - (self._report.unix + ticks / self._rate)
        return arrived - max(0.0, age) if -_AHEAD <= age <= _OLDEST else arrived


class ReceptionStatistics:
    """What a receiver tells the sender: what came, what did not, and how unevenly."""

    def __init__(self, ssrc: int, rate: int) -> None:
        self._own, self._rate = ssrc, rate
        self._source: int | None = None
        self._report: SenderReport | None = None
        self._reported = 0.0

    def packet(self, ssrc: int, sequence: int, stamp: int, at: float) -> None:
        """One RTP packet came at monotonic time `at`."""
        if ssrc != self._source:
            self._source = ssrc
            self._base = self._highest = sequence
            self._received = self._expected_before = self._received_before = 0
            self._transit: int | None = None
            self._jitter = 0.0
        ahead = (sequence - self._highest) & 0xFFFF
        if ahead < 0x8000:
            self._highest += ahead
        self._received += 1
        # Appendix A.8; by frame, since the packets of one have one time stamp.
        transit = int(at * self._rate) - stamp
        if self._transit is not None and transit != self._transit:
            moved = abs(transit - self._transit) & 0x7FFFFFFF
            self._jitter += (min(moved, 10 * self._rate) - self._jitter) / 16
        self._transit = transit

    def sender(self, report: SenderReport, at: float) -> None:
        self._report, self._reported = report, at

    def compound(self, name: bytes = b"emflow") -> bytes:
        """A receiver report and our name, ready to be sent."""
        blocks = b""
        if self._source is not None:
            expected = self._highest - self._base + 1
            lost = max(0, min(0x7FFFFF, expected - self._received))
            since = expected - self._expected_before
            missed = max(0, since - (self._received - self._received_before))
            fraction = min(255, 256 * missed // since) if since > 0 else 0
            self._expected_before, self._received_before = expected, self._received
            last, delay = 0, 0
            if self._report is not None and self._report.ssrc == self._source:
                last = self._report.ntp
                delay = int((time.monotonic() - self._reported) * 65536) & 0xFFFFFFFF
            jitter = int(self._jitter) & 0xFFFFFFFF
            blocks = struct.pack(
                "!IIIIII", self._source, fraction << 24 | lost, self._highest & 0xFFFFFFFF, jitter, last, delay
            )
        head = struct.pack("!BBHI", 0x80 | bool(blocks), _RECEIVER, 1 + len(blocks) // 4, self._own)
        text = struct.pack("!I", self._own) + bytes([1, len(name)]) + name
        text += b"\0" * (4 - len(text) % 4)
        return head + blocks + struct.pack("!BBH", 0x81, _DESCRIPTION, len(text) // 4) + text
