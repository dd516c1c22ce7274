"""RTSP's and HTTP's text: requests out, heads of responses in. No I/O.

RTSP 1.0 is RFC 2326; HTTP/1.0 has the same form. Cameras write header names in any case, end lines with a bare line
feed, and leave out what they do not think of; all of that is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_HEAD = 65536
# But for the tabulator, and the line feed that ends a line.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
LONGEST_BODY = 1 << 20


class MalformedMessage(ValueError):
    """What came is no such message."""


@dataclass(frozen=True)
class MessageHead:
    """The first line of a message and its headers, whose names are in lower case.

    first: its three parts, such as `RTSP/1.0`, `200`, `OK` of a response.
    """

    first: tuple[str, str, str]
    headers: tuple[tuple[str, str], ...]

    @property
    def status(self) -> int:
        """The status of a response; 0 of a request."""
        return int(self.first[1]) if self.first[1].isdecimal() and len(self.first[1]) == 3 else 0

    def get(self, name: str, default: str = "") -> str:
        """The first header of this name."""
        return next((value for given, value in self.headers if given == name), default)

    def all(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given == name]

    @property
    def length(self) -> int:
        """Bytes of body.

        Raises:
            MalformedMessage: it is no number, or more than a camera has to say.
        """
        length = small_integer(self.get("content-length", "0"))
        if length is None or length > LONGEST_BODY:
            raise MalformedMessage("an invalid Content-Length")
        return length


def small_integer(text: str) -> int | None:
    """A whole number of at most nine digits, which is all that a camera has to count; None when it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None


def take_head(buffer: bytearray) -> MessageHead | None:
    """Take a message's head off the front of `buffer`; None while its end has not come.

    Raises:
        MalformedMessage: it is none.
    """
    text = _take_text(buffer)
    if text is None:
        return None
    first, *lines = text.split("\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0]:
        raise MalformedMessage("an invalid first line")
    return MessageHead((parts[0], parts[1], parts[2] if len(parts) > 2 else ""), _headers(lines))


def take_headers(buffer: bytearray) -> MessageHead | None:
    """Take headers without a first line, as of a part of a multipart message, off the front of `buffer`."""
    text = _take_text(buffer)
    return None if text is None else MessageHead(("", "", ""), _headers(text.split("\n")))


def parse_headers(text: bytes) -> MessageHead:
    """Headers without a first line and without the empty line behind them."""
    return MessageHead(("", "", ""), _headers(_lines(text).split("\n")))


def _take_text(buffer: bytearray) -> str | None:
    """Everything up to an empty line, with plain line feeds; None while that has not come."""
    end, gap = buffer.find(b"\r\n\r\n", 0, LONGEST_HEAD + 4), 4
    bare = buffer.find(b"\n\n", 0, end if end >= 0 else LONGEST_HEAD + 2)
    if bare >= 0:
        end, gap = bare, 2
    if end < 0 and len(buffer) > LONGEST_HEAD:
        raise MalformedMessage("a head without an end")
    if end < 0:
        return None
    text = _lines(bytes(buffer[:end]))
    del buffer[: end + gap]
    return text


def _lines(data: bytes) -> str:
    """The text with plain line feeds. Controls that end a line for some become blanks (RFC 9110, section 5.5)."""
    return _CONTROL.sub(" ", data.decode("utf-8", "replace").replace("\r\n", "\n"))


def _headers(lines: Sequence[str]) -> tuple[tuple[str, str], ...]:
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if line[:1] in (" ", "\t") and headers:
            # A header goes on (RFC 2068, section 4.2).
            headers[-1] = (headers[-1][0], f"{headers[-1][1]} {line.strip()}")
        elif colon:
            headers.append((name.strip().lower(), value.strip()))
    return tuple(headers)


def request(method: str, target: str, protocol: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """A request without a body.

    Raises:
        MalformedMessage: something in it would end a line; the error does not show what.
    """
    return _head(f"{method} {target} {protocol}", headers)


def response(protocol: str, status: str, reason: str, headers: Sequence[tuple[str, str]], body: bytes = b"") -> bytes:
    """A response.

    Raises:
        MalformedMessage: as `request`.
    """
    length = [("Content-Length", str(len(body)))] if body else []
    return _head(f"{protocol} {status} {reason}", [*headers, *length]) + body


def _head(first: str, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    if any("\n" in line or _CONTROL.search(line) for line in lines):
        raise MalformedMessage("control characters where a line would end")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace")
