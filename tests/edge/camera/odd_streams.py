"""Encoded pictures as RTP packets, put together as cameras do that keep to no standard."""

from __future__ import annotations

import functools
import itertools
import random
import re
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from emflow_edge.rtsp.nal import H264
from emflow_edge.rtsp.rtp import RtpPacket

PAYLOAD = 96
_TICKS = 9000
_ENCODERS = {"H264": ("libx264", "x264-params"), "H265": ("libx265", "x265-params")}
# First and second byte of a fragment's payload header; the unit's own type goes into the one behind.
_FRAGMENT = {"H264": (28, 1), "H265": (49, 2)}


@functools.cache
def pictures(codec: str, slices: int = 1, interlaced: bool = False) -> tuple[tuple[bytes, ...], ...]:
    """The units of each picture: 24 of 320 x 240, a key frame first and then every twelfth."""
    name, parameters = _ENCODERS[codec]
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt = 320, 240, "yuv420p"
    encoder.time_base = Fraction(1, 10)
    more = f"slices={slices}:keyint=12:min-keyint=12:repeat-headers=1:bframes=0:log-level=none"
    more += ":interlaced=1" if interlaced else ""
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", parameters: more}
    found = []
    for number in range(24):
        image = np.full((240, 320, 3), 30, np.uint8)
        image[60:140, number * 6 : number * 6 + 60] = (200, 40, 40)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        found += [bytes(packet) for packet in encoder.encode(frame)]
    found += [bytes(packet) for packet in encoder.encode(None)]
    return tuple(tuple(unit for unit in re.split(rb"\x00*\x00\x00\x01", one) if unit) for one in found)


def fragments(codec: str, unit: bytes, size: int = 300, *, end: bool = True) -> list[bytes]:
    """A unit, or what a camera takes for one, in fragments. end: the last one is marked as that."""
    kind, header = _FRAGMENT[codec]
    if codec == "H264":
        first, own = bytes([unit[0] & 0xE0 | kind]), unit[0] & 31
    else:
        first, own = bytes([unit[0] & 0x81 | kind << 1, unit[1]]), (unit[0] >> 1) & 63
    pieces = [unit[at : at + size] for at in range(header, len(unit), size)] or [b""]
    flags = [0x80 * (number == 0) | 0x40 * (end and number == len(pieces) - 1) for number in range(len(pieces))]
    return [first + bytes([flag | own]) + piece for flag, piece in zip(flags, pieces)]


def aggregate(codec: str, units: Iterable[bytes]) -> bytes:
    header = b"\x78" if codec == "H264" else b"\x60\x01"
    return header + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


def payloads(codec: str, units: tuple[bytes, ...], packing: str) -> list[bytes]:
    """The payloads of one picture."""
    long, short = b"\0\0\0\1", b"\0\0\1"
    code = short if packing.endswith("3") else long
    joined = b"".join(code + unit for unit in units)
    packing = packing.rstrip("34")
    if packing == "code before each unit":
        return [code + unit for unit in units]
    if packing == "codes between all units":
        return [joined]
    if packing == "codes between units in one packet":
        return [joined[len(code) :]]
    if packing == "codes inside an aggregate":
        return [aggregate(codec, (code + unit for unit in units))]
    if packing == "fragments":
        return [piece for unit in units for piece in fragments(codec, unit)]
    if packing == "fragments without ends":
        return [piece for unit in units for piece in fragments(codec, unit, end=False)]
    if packing == "codes inside fragments":
        return fragments(codec, joined[len(code) :])
    if packing == "fragments that begin with a code":
        return fragments(codec, joined)
    if packing == "fragments with a code behind the header":
        header = _FRAGMENT[codec][1]
        return [piece for unit in units for piece in fragments(codec, unit[:header] + code + unit)]
    return list(units)


PACKINGS = (
    "units",
    "fragments",
    "fragments without ends",
    *(
        f"{packing} {size}"
        for packing in (
            "code before each unit",
            "codes between all units",
            "codes between units in one packet",
            "codes inside an aggregate",
            "codes inside fragments",
            "fragments that begin with a code",
            "fragments with a code behind the header",
        )
        for size in (3, 4)
    ),
)
MARKS = ("right", "none", "every packet", "every unit", "first packet")
STAMPS = ("right", "constant", "every second", "every packet", "backwards", "jumping")


def interleaved(packet: RtpPacket) -> bytes:
    """A packet as it comes over the RTSP connection."""
    second = packet.marker << 7 | packet.payload_type
    head = struct.pack("!BBHII", 0x80, second, packet.sequence, packet.stamp & 0xFFFFFFFF, packet.ssrc)
    return b"$\0" + (len(head) + len(packet.payload)).to_bytes(2, "big") + head + packet.payload


def packets(
    codec: str,
    slices: int = 1,
    interlaced: bool = False,
    *,
    packing: str = "units",
    marks: str = "right",
    stamps: str = "right",
    count: int = 24,
    keys: bool = True,
) -> Iterator[list[RtpPacket]]:
    """The packets of each picture. keys: of H.264, whether there are key frames."""
    chance, sequence = random.Random(7), itertools.count(65000)
    packed = packing.rpartition(" ")[0] if packing[-1] in "34" else packing
    encoded = pictures(codec, slices, interlaced)
    if not keys:
        sets = [unit for unit in encoded[0] if not H264.nal(unit).slice]
        encoded = ((*sets, *encoded[1]), *encoded[2:12])
    for number, units in zip(range(count), itertools.cycle(encoded)):
        found = payloads(codec, units, f"{packed}{packing[-1]}" if packing[-1] in "34" else packing)
        jump = chance.randrange(1 << 32)
        picture = []
        for index, payload in enumerate(found):
            last = index == len(found) - 1
            marker = {
                "right": last,
                "none": False,
                "every packet": True,
                "every unit": packed != "fragments" or bool(payload[_FRAGMENT[codec][1]] & 0x40),
                "first packet": index == 0,
            }[marks]
            stamp = {
                "right": number * _TICKS,
                "constant": 1000,
                "every second": number // 2 * 2 * _TICKS,
                "every packet": number * _TICKS + index * 40,
                "backwards": (1 << 31) - number * _TICKS,
                "jumping": jump,
                "twice as fast": number * 2 * _TICKS,
                "half as fast": number * _TICKS // 2,
            }[stamps]
            picture.append(RtpPacket(marker, PAYLOAD, next(sequence) & 0xFFFF, stamp, 7, payload))
        yield picture
