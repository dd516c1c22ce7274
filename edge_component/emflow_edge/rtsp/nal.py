"""NAL units of H.264 and H.265: what their headers say, and how they are put into RTP packets (RFC 6184, RFC 7798)."""

from __future__ import annotations

import functools
from typing import NamedTuple

_START_CODE = b"\0\0\1"
# After so many units without a start code, slices between key frames are not searched for any: it takes longer than all
# else that is done with them.
_CONVINCING = 100
# Bytes of a sequence parameter set that are read; none has more before what is looked for.
_LONGEST_SET = 1024
# Profiles of H.264 whose parameter sets name a chroma format.
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))


class NalHeader(NamedTuple):
    """What a NAL unit's header says.

    slice: it is a part of a picture; key, disposable: of a slice, as in `AccessUnit`; first: the first slice of its
    picture; leads: it stands before the slices of its picture.
    """

    slice: bool
    key: bool
    disposable: bool
    first: bool
    leads: bool


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
        # first_mb_in_slice is 0, which is coded as a single bit.
        first = kind in (1, 2, 5) and len(unit) > 1 and unit[1] >= 0x80
        return NalHeader(1 <= kind <= 5, key, not unit[0] & 0x60, first, 6 <= kind <= 9 or 14 <= kind <= 18)

    @staticmethod
    def whole_header(payload: bytes) -> bytes:
        """The header of the unit that a fragment is of."""
        return bytes([(payload[0] & 0xE0) | (payload[1] & 31)])

    @staticmethod
    def has_fields(unit: bytes) -> bool | None:
        """Whether a frame may come as two pictures, its fields; None for what is no readable parameter set."""
        return _has_fields(unit[1:_LONGEST_SET]) if unit[0] & 31 == 7 else None


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
        base = not unit[0] & 1 and unit[1] < 8
        first = kind < 32 and base and len(unit) > 2 and unit[2] >= 0x80
        return NalHeader(kind < 32, 16 <= kind <= 21, kind < 16 and not kind & 1, first, 32 <= kind <= 35 or kind == 39)

    @staticmethod
    def whole_header(payload: bytes) -> bytes:
        return bytes([(payload[0] & 0x81) | (payload[2] & 63) << 1, payload[1]])

    @staticmethod
    def has_fields(_unit: bytes) -> bool | None:
        """A field is a picture of its own."""
        return None


def split_start_codes(unit: bytes, header_size: int) -> list[bytes]:
    """The units between start codes of three or four bytes. Inside a unit, no start code can occur."""
    if header_size == 1 and not unit[0] & 31:
        # Type 0 does not exist: it is the first zero of a start code, of which a fragment's header kept three bits.
        unit = b"\0" + unit[1:]
    if _START_CODE not in unit:
        return [unit]
    *pieces, last = unit.split(_START_CODE)
    # A unit does not end in zeros, and a header alone is what a fragment has before its start code.
    return [piece for piece in (*(piece.rstrip(b"\0") for piece in pieces), last) if len(piece) > header_size]


class UnitAssembler:
    """RTP payloads in, in the order they were sent; NAL units out.

    Args:
        codec: whose units they are.
        numbered: decoding order numbers stand before the units, as H.265 has them; they are skipped.
    """

    def __init__(self, codec: type[H264] | type[H265], numbered: bool) -> None:
        self._codec = codec
        self._order = 2 if numbered and codec is H265 else 0
        self._pieces: list[bytes] = []
        self.length = 0
        # Of fragments: whether the last one says that it is, else whether the mark of its packet does.
        self._ends_are_marked = self._marks_are_ends = True
        self._ended_by_mark = False
        self._without_start_codes = 0
        self.start_codes = False
        """Whether start codes came, which RTP payloads do not have."""

    @property
    def open(self) -> bool:
        """Whether a unit has begun of which more is to come."""
        return bool(self._pieces)

    @property
    def pieces(self) -> int:
        return len(self._pieces)

    def push(self, payload: bytes, *, marker: bool, gap: bool) -> tuple[list[bytes], bool]:
        """Take a payload; the units that are complete now, and whether it is as it should be.

        Args:
            payload: of the next packet.
            marker: its packet is marked as the last one of a picture.
            gap: packets are missing before it.
        """
        codec = self._codec
        if len(payload) < codec.size:
            return [], True
        kind = codec.kind(payload)
        if kind == codec.fragment:
            return self._fragment(payload, marker, gap)
        units, sound = self.finish(gap), True
        if kind == codec.aggregate:
            at = codec.size + self._order
            while at + 2 <= len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                unit = payload[at + 2 : at + 2 + size]
                if len(unit) < size or size < codec.size:
                    # Cameras leave zeros behind the last one.
                    sound = not any(unit)
                    break
                units += self._split(unit)
                at += 2 + size + (1 if self._order else 0)
        elif kind < codec.aggregate:
            units += self._split(payload if not self._order else payload[:2] + payload[4:])
        else:
            sound = False
        return units, sound

    def peek(self, payload: bytes) -> NalHeader | None:
        """The header of the unit that begins with this payload; None where none begins."""
        codec, size = self._codec, self._codec.size
        if len(payload) < size + 3 + self._order:
            return None
        kind = codec.kind(payload)
        if kind == codec.fragment:
            unit = codec.whole_header(payload) + payload[size + 1 + self._order :] if payload[size] & 0x80 else b""
        elif kind == codec.aggregate:
            unit = payload[size + self._order + 2 :]
        else:
            unit = payload if not self._order else payload[:2] + payload[4:]
        first = split_start_codes(unit, size)[:1] if len(unit) > size else []
        return codec.nal(first[0]) if first else None

    def continues(self, payload: bytes) -> bool:
        """Whether a payload goes on with the unit that is open."""
        size = self._codec.size
        is_fragment = len(payload) > size and self._codec.kind(payload) == self._codec.fragment
        return self.open and is_fragment and not payload[size] & 0x80

    def close(self) -> list[bytes]:
        """What there is of the open unit."""
        pieces, self._pieces, self.length = self._pieces, [], 0
        return self._split(b"".join(pieces)) if pieces else []

    def finish(self, gap: bool) -> list[bytes]:
        """The open unit, whose end was not marked; with all packets there, nothing of it is missing."""
        if self.open and not gap:
            self._ends_are_marked = False
        return self.close()

    def _fragment(self, payload: bytes, marker: bool, gap: bool) -> tuple[list[bytes], bool]:
        size = self._codec.size
        if len(payload) < size + 2 + self._order:
            return [], False
        flags = payload[size]
        body = payload[size + 1 + self._order if flags & 0x80 else size + 1 :]
        units: list[bytes] = []
        if flags & 0x80:
            units = self.finish(gap)
            self._pieces.append(self._codec.whole_header(payload))
        elif not self.open:
            # Its beginning is missing, or a mark ended it too early.
            self._marks_are_ends = self._marks_are_ends and (gap or not self._ended_by_mark)
            return [], False
        self._pieces.append(body)
        self.length += len(body)
        self._ended_by_mark = marker and not flags & 0x40 and not self._ends_are_marked and self._marks_are_ends
        if flags & 0x40 or self._ended_by_mark:
            units += self.close()
        return units, True

    def _split(self, unit: bytes) -> list[bytes]:
        if self._without_start_codes >= _CONVINCING and self._is_plain_slice(unit):
            return [unit]
        self._without_start_codes = 0 if self.start_codes else self._without_start_codes + 1
        units = split_start_codes(unit, self._codec.size)
        self.start_codes = self.start_codes or units[:1] != [unit]
        return [one for one in units if len(one) >= self._codec.size]

    def _is_plain_slice(self, unit: bytes) -> bool:
        """Whether a unit is a slice of a picture between key frames, which most units are."""
        if len(unit) < 4 or not any(unit[:2]):
            return False
        header = self._codec.nal(unit)
        return header.slice and not header.key


@functools.lru_cache(maxsize=8)
def _has_fields(parameters: bytes) -> bool | None:
    try:
        return not _frames_only(_Bits(parameters))
    except IndexError:
        return None


class _Bits:
    """The bits of a unit behind its header, read one after the other; IndexError behind the last."""

    def __init__(self, data: bytes) -> None:
        self._data = data.replace(b"\0\0\3", b"\0\0")
        self._at = 0

    def number(self, bits: int) -> int:
        value = 0
        for _ in range(bits):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def golomb(self) -> int:
        """An Exp-Golomb code (H.264, section 9.1) without sign."""
        zeros = 0
        while not self.number(1):
            zeros += 1
        return (1 << zeros) - 1 + self.number(zeros)

    def signed_golomb(self) -> int:
        code = self.golomb()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def _frames_only(bits: _Bits) -> bool:
    """frame_mbs_only_flag of a sequence parameter set (H.264, section 7.3.2.1.1)."""
    profile = bits.number(8)
    bits.number(16)
    bits.golomb()
    if profile in _HIGH_PROFILES:
        chroma = bits.golomb()
        bits.number(1 if chroma == 3 else 0)
        bits.golomb()
        bits.golomb()
        bits.number(1)
        if bits.number(1):
            for number in range(12 if chroma == 3 else 8):
                if bits.number(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.golomb()
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.number(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb()
    bits.number(1)
    bits.golomb()
    bits.golomb()
    return bool(bits.number(1))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last
