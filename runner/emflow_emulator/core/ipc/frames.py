"""Event-stream RPC messages: vnd.amazon.eventstream frames with the headers of the protocol.

A frame: total length, header length, CRC-32 of both, headers, payload, CRC-32 of all before it; numbers are big-endian.
Frames are decoded by botocore, which needs this for streaming APIs; it has no encoder.
"""

from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any

from botocore.eventstream import EventStreamBuffer, ParserError

_INT32, _STRING = 4, 7

Value = str | int


class Kind(IntEnum):
    """The `:message-type` header."""

    MESSAGE = 0
    ERROR = 1
    PING = 2
    PING_RESPONSE = 3
    CONNECT = 4
    CONNECT_ACK = 5
    PROTOCOL_ERROR = 6
    INTERNAL_ERROR = 7


class Flags(IntFlag):
    """The `:message-flags` header."""

    NONE = 0
    ACCEPTED = 1
    TERMINATE = 2


class BadFrame(Exception):
    """The bytes are not an event-stream message."""


class TooLong(Exception):
    """A message is longer than the nucleus reads."""


@dataclass(frozen=True)
class Message:
    """One message. Stream 0 is the connection itself; every operation has its own stream."""

    kind: Kind
    stream: int = 0
    flags: Flags = Flags.NONE
    payload: bytes = b""
    headers: Mapping[str, Value] = field(default_factory=dict)


def encode(message: Message) -> bytes:
    """The message as a frame; header values are strings or 32-bit integers."""
    all_headers: dict[str, Value] = {
        ":message-type": int(message.kind),
        ":message-flags": int(message.flags),
        ":stream-id": message.stream,
        **message.headers,
    }
    headers = b"".join(_header(name, value) for name, value in all_headers.items())
    prelude = struct.pack("!II", 12 + len(headers) + len(message.payload) + 4, len(headers))
    frame = prelude + struct.pack("!I", crc32(prelude)) + headers + message.payload
    return frame + struct.pack("!I", crc32(frame))


class Decoder:
    """Collects received bytes and returns complete messages.

    Args:
        longest: bytes that a message may have; None: no limit but that of the format.
    """

    def __init__(self, longest: int | None = None) -> None:
        self._buffer = EventStreamBuffer()
        self._longest = longest

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete with `data`.

        Raises:
            BadFrame: a checksum or a length is wrong, or a header is missing.
            TooLong: a message is longer than it may be.
        """
        self._buffer.add_data(data)
        try:
            for event in self._buffer:
                size: int = event.prelude.total_length  # type: ignore[attr-defined]  # the stubs say int
                if self._longest is not None and size > self._longest:
                    raise TooLong(f"{size} bytes, and {self._longest} are allowed")
                headers: dict[str, Any] = dict(event.headers)  # type: ignore[call-overload]  # the stubs say int
                yield Message(
                    kind=Kind(headers.pop(":message-type")),
                    flags=Flags(headers.pop(":message-flags", 0)),
                    stream=int(headers.pop(":stream-id", 0)),
                    payload=bytes(event.payload),
                    headers=headers,
                )
        except (ParserError, KeyError, ValueError, struct.error) as error:
            raise BadFrame(str(error)) from error


def _header(name: str, value: Value) -> bytes:
    key = name.encode()
    head = struct.pack("!B", len(key)) + key
    if isinstance(value, int):
        return head + struct.pack("!Bi", _INT32, value)
    text = value.encode()
    return head + struct.pack("!BH", _STRING, len(text)) + text
