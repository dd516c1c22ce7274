"""Limits of what is received, before it is parsed.

A message takes far more memory when it is parsed than on the wire if it consists of many small parts: 60 MB of empty
tensors become 1.9 GB. So the parts are counted first, along the wire format
(https://protobuf.dev/programming-guides/encoding/), and only in messages that are large enough to matter.
"""

from __future__ import annotations

from typing import Any

MAX_MESSAGE_BYTES = 64 << 20
"""Of one request or response; tensors that are larger need shared memory."""

MAX_PARTS = 50_000
"""Fields and list elements of one message, those inside of it included."""

_SMALL = 128 << 10
"""Bytes; what is at most this long is parsed without counting."""

_VARINT_BYTES = 10
"""The most that a number has. Without a limit, reading a long one takes the square of its length."""

_VARINT, _FIXED64, _LENGTH, _GROUP_BEGIN, _GROUP_END, _FIXED32 = range(6)


class TooManyParts(ValueError):
    """The message has more than MAX_PARTS parts."""


def parse(message: Any, content: bytes) -> Any:
    """Parse the bytes of a message that somebody else sent.

    Args:
        message: the class.

    Raises:
        TooManyParts: it would take far more memory than it has bytes.
        Exception: what protobuf raises when the bytes are no such message: DecodeError, or in its pure Python code
            others too.
    """
    if len(content) > _SMALL:
        _left_after(memoryview(content), message.DESCRIPTOR, MAX_PARTS)
    return message.FromString(content)


def _left_after(content: memoryview, descriptor: Any, left: int) -> int:
    """How many parts may follow after those of a message. What is no message ends the count: parsing refuses it.

    Raises:
        TooManyParts: there are more than `left`.
    """
    at, end = 0, len(content)
    try:
        while at < end:
            tag, at = _varint(content, at)
            kind, field = tag & 7, descriptor.fields_by_number.get(tag >> 3)
            left -= 1
            if kind == _LENGTH:
                size, at = _varint(content, at)
                if field is not None and field.message_type is not None:
                    left = _left_after(content[at : at + size], field.message_type, left)
                elif field is not None and field.cpp_type != field.CPPTYPE_STRING:
                    left -= size  # a packed list, with at least a byte for each element
                at += size
            elif kind == _VARINT:
                _, at = _varint(content, at)
            elif kind in (_FIXED32, _FIXED64):
                at += 4 if kind == _FIXED32 else 8
            elif kind not in (_GROUP_BEGIN, _GROUP_END):
                return left
            if left < 0:
                raise TooManyParts(f"has more than {MAX_PARTS} parts")
    except IndexError:
        pass  # it ends inside a number, or a number has no end
    return left


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length, and where the next begins. Raises: IndexError, also where it is longer than any."""
    value = 0
    for shift in range(0, 7 * _VARINT_BYTES, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise IndexError
