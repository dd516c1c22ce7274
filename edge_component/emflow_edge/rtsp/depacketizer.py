"""Whole coded pictures out of RTP: H.264 by RFC 6184 and H.265 by RFC 7798, complete with their last packet.

A demuxer that looks at the bytes alone knows that a picture is complete when the next one begins, one frame interval
later. RTP says it at once, by the marker on a picture's last packet.
"""

from __future__ import annotations

from dataclasses import dataclass

from emflow_edge.rtsp.nal import H264, H265, NalHeader, UnitAssembler
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_edge.rtsp.rtp import RtpPacket, SequenceUnwrapper
from emflow_edge.rtsp.sdp import VideoTrack

START = b"\0\0\0\1"
# No camera's picture has more; what has is no picture.
_LARGEST = 32 << 20
# Nor in more pieces: each takes more memory than a small one has bytes.
_MOST_PARTS = 1 << 16
# After so many pictures that were marked rightly, marks count again.
_CONVINCING = 3
# Of an interlaced frame, so many pictures have the same time stamp; more show that the camera's clock stands still.
_FIELDS = 2


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


class Depacketizer:
    """Packets in, in the order they were sent; pictures out.

    A picture ends with the packet that is marked, at once. Marks and time stamps are what the camera says about its
    pictures; what the pictures themselves say overrides it. A slice that is the first one begins a picture, also where
    the stamps stand still and no mark came. A slice that is not the first one behind a mark shows that marks are
    wrong, and then a picture ends where the next one begins; marks count again after some pictures of several slices
    that were marked rightly. Of interlaced H.264, two pictures may be one frame: those with one stamp stay together.
    """

    def __init__(self, video: VideoTrack, notice: Notice = no_notice) -> None:
        self._codec = H265 if video.codec == "H265" else H264
        self._payload_type = video.payload_type
        self._notice = notice
        self._assembler = UnitAssembler(self._codec, video.numbered)
        self._stamps = SequenceUnwrapper(32)
        self._sequence: int | None = None
        self._ssrc: int | None = None
        # Interlaced: how many pictures have come with the last time stamp.
        self._fields = self._stamps_stand_still = False
        self._field_stamp: int | None = None
        self._with_this_stamp = 0
        self._marks_lie = False
        # Pictures of several slices, one after the other, whose last packet alone was marked.
        self._marked_rightly = 0
        # The time stamp of the last picture, whether a mark ended it, and whether its first slice was there.
        self._ended: int | None = None
        self._ended_by_mark = self._ended_with_first = False
        self._follows = False
        self._leading: list[bytes] = []
        self._reset()

    def _reset(self) -> None:
        """Begin a picture, with the units that came behind the last slice of the one before."""
        self._parts: list[bytes] = []
        self._length = 0
        self._stamp: int | None = None
        self._at = 0.0
        self._slices = self._marks = 0
        self._last_is_marked = self._key = self._has_first = False
        self._disposable = self._intact = True
        leading, self._leading = self._leading, []
        for unit in leading:
            self._add(unit)

    def push(self, packet: RtpPacket, at: float) -> list[AccessUnit]:
        """Take the next packet; the pictures that are complete now."""
        if packet.payload_type != self._payload_type:
            return []
        gap = False
        if packet.ssrc != self._ssrc:
            self._ssrc, gap = packet.ssrc, self._ssrc is not None
        elif self._sequence is not None:
            ahead = (packet.sequence - self._sequence) & 0xFFFF
            if ahead == 0:
                return []
            gap = ahead != 1
        self._sequence = packet.sequence
        done = self._end_by_stamp(packet, gap)
        if gap:
            self._intact = self._follows = False
        self._stamp = packet.stamp
        units, sound = self._assembler.push(packet.payload, marker=packet.marker, gap=gap)
        if not sound:
            self._intact, self._at = False, at
            if self._codec.kind(packet.payload) == self._codec.fragment:
                # What is missing was a part of a picture.
                self._slices = self._slices or 1
        for unit in units:
            done += self._take(unit, at, gap)
        if self._assembler.start_codes:
            self._notice("sends start codes in its RTP packets; the units between them are read")
        if self._length + self._assembler.length > _LARGEST or len(self._parts) + self._assembler.pieces > _MOST_PARTS:
            self._assembler.close()
            self._leading = []
            self._reset()
            self._intact = self._follows = False
        self._marks += packet.marker
        self._last_is_marked = packet.marker
        if packet.marker and self._slices and not self._marks_lie and not self._assembler.open:
            done.append(self._end(by_mark=True))
        return done

    def _end_by_stamp(self, packet: RtpPacket, gap: bool) -> list[AccessUnit]:
        """The picture before, if this packet's time stamp says that it is another one's."""
        if self._stamp is None or packet.stamp == self._stamp or (not gap and self._goes_on(packet.payload)):
            return []
        done: list[AccessUnit] = []
        for unit in self._assembler.finish(gap):
            done += self._take(unit, self._at, gap)
        if self._slices:
            self._intact = self._intact and not gap
            done.append(self._end())
        elif not self._parts or not self._intact:
            self._reset()
        return done

    def _goes_on(self, payload: bytes) -> bool:
        """Whether a payload is of the same picture as the one before, whatever its time stamp."""
        if self._assembler.continues(payload):
            return True
        header = self._assembler.peek(payload) if self._has_first else None
        return header is not None and header.slice and not header.first

    def _take(self, unit: bytes, at: float, gap: bool) -> list[AccessUnit]:
        """Take the next unit; the picture that was complete before it."""
        done: list[AccessUnit] = []
        header = self._codec.nal(unit)
        fields = self._codec.has_fields(unit)
        self._fields = self._fields if fields is None else fields
        first = header.first and not self._is_second_field(header)
        if first and self._slices:
            stamp = self._stamp
            done.append(self._end())
            self._stamp = stamp
        elif header.slice and not first and not self._slices and not gap and self._ended_by_mark:
            # The rest of the picture that a mark ended.
            lies = self._stamp == self._ended or self._ended_with_first
            if lies and not self._marks_lie:
                self._marks_lie, self._marked_rightly = True, 0
                self._notice("marks packets as the last ones of a picture that are not; a picture ends with the next")
        self._has_first = self._has_first or first
        self._at = at
        if header.leads and self._slices:
            # Of this picture or of the next one: the next slice tells.
            self._leading.append(unit)
            self._length += len(unit)
            return done
        if header.slice:
            for one in self._leading:
                self._add(one)
            self._leading = []
        self._add(unit)
        return done

    def _is_second_field(self, header: NalHeader) -> bool:
        """Whether the first slice of an interlaced picture is of a second field, which belongs to the first."""
        if not self._fields or not header.first:
            return False
        if self._stamp != self._field_stamp:
            self._field_stamp, self._with_this_stamp = self._stamp, 0
        self._with_this_stamp += 1
        if self._with_this_stamp > _FIELDS and not self._stamps_stand_still:
            self._stamps_stand_still, self._marks_lie = True, False
        return self._with_this_stamp > 1 and not self._stamps_stand_still

    def _end(self, *, by_mark: bool = False) -> AccessUnit:
        assert self._stamp is not None
        if by_mark:
            for one in self._leading:
                self._add(one)
            self._leading = []
        elif self._marks_lie:
            rightly = self._marks == 1 and self._last_is_marked
            self._marked_rightly = self._marked_rightly + (self._slices > 1) if rightly else 0
            self._marks_lie = self._marked_rightly < _CONVINCING
        unit = AccessUnit(
            data=b"".join(self._parts),
            key=self._key,
            disposable=self._disposable,
            intact=self._intact,
            follows=self._follows,
            stamp=self._stamps.unwrap(self._stamp),
            arrived_at=self._at,
        )
        self._ended, self._ended_by_mark, self._ended_with_first = self._stamp, by_mark, self._has_first
        self._follows = unit.intact
        self._reset()
        return unit

    def _add(self, unit: bytes) -> None:
        nal = self._codec.nal(unit)
        self._slices += nal.slice
        self._key = self._key or nal.key
        if nal.slice:
            self._disposable = self._disposable and nal.disposable
        self._parts += (START, unit)
        self._length += len(unit)
