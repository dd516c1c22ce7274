"""JPEG pictures out of what an HTTP camera sends: parts of a multipart message, or pictures in a row. No I/O.

A camera says three times where a picture is: by boundaries, by a length, and by the JPEG itself. Each may be missing or
wrong, so each is held against the others, and one that proves to be wrong is not used any more.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from emflow_edge.rtsp.messages import (
    LONGEST_HEAD,
    MalformedMessage,
    MessageHead,
    parse_headers,
    small_integer,
    take_headers,
)
from emflow_edge.rtsp.notices import Notice, no_notice

_MAX_JPEG_BYTES = 32 << 20
_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"
# The marker of the first segment follows at once.
_BEGIN_OF_PICTURE = _BEGIN + b"\xff"
# In the coded part of a JPEG: a marker that is neither a stuffed byte nor a restart.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Bytes between a picture and the boundary behind it.
_GAP = 8
# Bytes of a boundary's line; RFC 2046 allows 70 for its name.
_LONGEST_BOUNDARY = 1024


@dataclass(frozen=True)
class JpegPart:
    """One JPEG. captured_at: Unix time by the camera, 0 where it does not say; arrived_at: monotonic time at which it
    was here."""

    data: bytes
    captured_at: float
    arrived_at: float


class JpegWalk:
    """Finds the end of a JPEG, of which more comes with each call.

    Its segments are walked, since an embedded preview is a JPEG with an end of its own.
    """

    def __init__(self) -> None:
        self._at, self._coded = 2, False

    @property
    def walked(self) -> int:
        """How many bytes from the beginning of the JPEG on were walked."""
        return self._at

    def end(self, data: bytearray, begin: int) -> int | None:
        """The index behind the JPEG that begins at `begin`; None while its end is not there, -1 where it is no JPEG."""
        while True:
            if self._coded:
                found = _MARKER.search(data, begin + self._at)
                self._coded = found is None
                self._at = (found.start() if found else max(begin + self._at, len(data) - 1)) - begin
            at = begin + self._at
            if self._coded or at + 2 > len(data):
                return None
            marker = data[at + 1]
            if data[at] != 0xFF or marker in (0x00, 0xD8):
                return -1
            if marker == 0xD9:
                # Beginning and end alone are no picture.
                return at + 2 if self._at > len(_BEGIN) else -1
            if marker == 0xFF:
                self._at += 1
            elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
                self._at += 2
            elif at + 4 > len(data):
                return None
            else:
                self._at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
                self._coded = marker == 0xDA


class MultipartParser:
    """Pictures off the front of a buffer.

    Args:
        boundary: as `Content-Type` names it, with or without dashes; empty where it names none.
        notice: reports what the camera does otherwise than it says.
    """

    def __init__(self, boundary: str, notice: Notice = no_notice) -> None:
        self.complete: deque[JpegPart] = deque()
        self._notice = notice
        # Some cameras give the boundary with leading dashes, some without, and some send it without.
        name = re.escape(boundary.strip("'").lstrip("-").encode())
        nothing = rb"(?!)"
        self._line = re.compile(rb"(?:--|(?:\A|\n)-?)%b[^\n]{0,%d}\n" % (name, _LONGEST_BOUNDARY) if name else nothing)
        self._next = re.compile(rb"\r?\n-{0,8}%b|--%b" % (name, name) if name else nothing)
        self._known = self._in_part = self._by_length = False
        # None while it is not known.
        self._lengths_are_right: bool | None = None
        self._head: MessageHead | None = None
        self._passed = 0
        # Where looking through the buffer goes on when more has come.
        self._searched, self._walk = 0, JpegWalk()
        # The index up to which a walk went that found no picture.
        self._walked_in_vain = 0

    def read(self, buffer: bytearray, at: float) -> None:
        """Take the pictures that are complete off the front of `buffer`, which came until `at`.

        Raises:
            MalformedMessage: there are no pictures in it.
        """
        while True:
            if not self._in_part and not self._find_part(buffer, at):
                return
            if self._head is None:
                self._head, self._searched, self._walk = _take_part_head(buffer), 0, JpegWalk()
            if self._head is None:
                return
            data = self._take_part(buffer, self._head)
            if data is None:
                return
            head, self._head, self._in_part = self._head, None, False
            if data.startswith(_BEGIN) and len(data) > len(_BEGIN + _END):
                self._add(data, _seconds(head.get("x-timestamp")), at)

    def _add(self, data: bytes, captured_at: float, at: float) -> None:
        self._known, self._passed = True, 0
        self.complete.append(JpegPart(data, captured_at, at))

    def _cut(self, buffer: bytearray, end: int) -> bytes:
        """Take the front off the buffer."""
        self._searched, self._walk, self._walked_in_vain = 0, JpegWalk(), 0
        return _taken(buffer, end)

    def _search(self, pattern: re.Pattern[bytes], buffer: bytearray) -> re.Match[bytes] | None:
        found = pattern.search(buffer, self._searched)
        if found is None:
            self._searched = max(0, len(buffer) - _LONGEST_BOUNDARY)
        return found

    def _find_part(self, buffer: bytearray, at: float) -> bool:
        """Drop everything up to the end of the next boundary, and take the pictures before it; whether it was found."""
        line = self._search(self._line, buffer)
        read = self._take_pictures(buffer, None if line is None else line.start(), at)
        if line is None:
            if not buffer.startswith(_BEGIN_OF_PICTURE, read):
                if not self._known and self._passed + len(buffer) - read > LONGEST_HEAD:
                    raise MalformedMessage("no boundary between pictures, and no picture")
                # The last bytes may be the beginning of a boundary.
                kept_from = max(read, len(buffer) - LONGEST_HEAD)
                self._pass_over(kept_from - read)
                read = kept_from
            del buffer[:read]
            self._searched = max(0, self._searched - read)
            self._walked_in_vain -= read
            return False
        if self._by_length:
            self._check_length(line.start() <= _GAP)
        self._known, self._in_part, self._by_length = True, True, False
        self._cut(buffer, line.end())
        return True

    def _take_pictures(self, buffer: bytearray, boundary: int | None, at: float) -> int:
        """Take the pictures before the boundary, where one was found; the index up to which the buffer was read.

        The buffer is walked by an index and cut once by the caller, so that the time grows only with what came.
        """
        limit, read = len(buffer) if boundary is None else boundary, 0
        while (begin := buffer.find(_BEGIN_OF_PICTURE, read, limit)) >= 0:
            self._pass_over(begin - read)
            if begin:
                self._walk = JpegWalk()
            end = self._walk.end(buffer, begin)
            if end is None and boundary is None:
                # Its end has not come: it is the front of the buffer at the next call, where its walk goes on.
                if len(buffer) - begin > _MAX_JPEG_BYTES:
                    raise MalformedMessage("a picture without an end")
                return begin
            if end is not None and 0 < end <= limit + 1:
                self._notice("sends pictures without a boundary before them; they are found by their beginning and end")
                self._add(bytes(buffer[begin:end]), 0.0, at)
                self._by_length, read = False, end
            else:
                read = limit if boundary is not None else self._behind_no_picture(begin)
                self._pass_over(read - begin)
            self._walk = JpegWalk()
        return read

    def _behind_no_picture(self, begin: int) -> int:
        """Where to look for a picture when what begins at `begin` is none, or a part of one.

        A part of a picture hides the beginning of the next one, so that what was walked is looked through again; but
        not more than once.
        """
        walked = begin + self._walk.walked
        if begin < self._walked_in_vain:
            return walked
        self._walked_in_vain = walked
        return begin + len(_BEGIN)

    def _pass_over(self, count: int) -> None:
        """Count what is no picture."""
        self._passed += count
        if self._passed > _MAX_JPEG_BYTES:
            raise MalformedMessage("no boundary between pictures, and no picture")

    def _check_length(self, right: bool) -> None:
        """Learn whether a part was as long as its Content-Length said."""
        if not right and self._uses_lengths():
            self._notice("sends pictures with a wrong Content-Length; it is not used")
        self._lengths_are_right = right and self._uses_lengths()

    def _uses_lengths(self) -> bool:
        return self._lengths_are_right is not False

    def _take_part(self, buffer: bytearray, head: MessageHead) -> bytes | None:
        """The content of a part; None while it is not all there."""
        front = bytes(buffer[:_GAP])
        blank = len(front) - len(front.lstrip(b"\r\n"))
        if blank and front.startswith(_BEGIN, blank):
            self._cut(buffer, blank)
        length = small_integer(head.get("content-length")) or 0
        if 0 < length <= _MAX_JPEG_BYTES and self._uses_lengths():
            end = self._end_by_length(buffer, length)
            if end is not None:
                self._by_length = True
                return self._cut(buffer, end)
            if self._uses_lengths():
                return None
        end = self._walk.end(buffer, 0) if buffer.startswith(_BEGIN) else -1
        if end is None or end < 0:
            following = self._search(self._next, buffer)
            end = following.start() if following else None
        if end is None and len(buffer) > _MAX_JPEG_BYTES:
            raise MalformedMessage("a picture without an end")
        return None if end is None else self._cut(buffer, end)

    def _end_by_length(self, buffer: bytearray, length: int) -> int | None:
        """The end of a part by its Content-Length; None while it is not there, or where it is not the end."""
        if len(buffer) >= length:
            whole = bytes(buffer[max(0, length - _GAP) : length]).rstrip(b"\0\r\n ").endswith(_END)
            if whole or self._lengths_are_right or self._next.match(buffer, length):
                return length
            following = self._search(self._next, buffer)
            if following is None and len(buffer) < length + LONGEST_HEAD:
                return None
        elif self._lengths_are_right or (following := self._search(self._next, buffer)) is None:
            return None
        self._check_length(following is not None and abs(following.start() - length) <= _GAP)
        # The boundary that was found is looked for again, from the front.
        self._searched = 0
        return length if self._lengths_are_right else None


def _taken(buffer: bytearray, end: int) -> bytes:
    data = bytes(buffer[:end])
    del buffer[:end]
    return data


def _take_part_head(buffer: bytearray) -> MessageHead | None:
    """The headers of a part, of which there may be none, nor an empty line behind them; None while they are not all
    there."""
    for nothing in (b"\r\n", b"\n"):
        if buffer.startswith(nothing):
            del buffer[: len(nothing)]
            return parse_headers(b"")
    begin = buffer.find(_BEGIN, 0, LONGEST_HEAD)
    if begin >= 0 and b"\n\r\n" not in buffer[:begin] and b"\n\n" not in buffer[:begin]:
        return parse_headers(_taken(buffer, begin))
    return None if bytes(buffer) == b"\r" else take_headers(buffer)


class ChunkedBody:
    """Takes a body out of its chunks (RFC 9112, section 7.1), which some servers send to an HTTP/1.0 client too."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self._left = 0
        self._begun = self._plain = False

    def read(self, raw: bytearray) -> None:
        """Move what has come from `raw` to `buffer`.

        Raises:
            MalformedMessage: it has no more pictures, or is not in chunks any more.
        """
        while raw:
            if self._plain or self._left:
                count = len(raw) if self._plain else min(self._left, len(raw))
                self.buffer += raw[:count]
                del raw[:count]
                self._left = max(0, self._left - count)
                continue
            end = raw.find(b"\n")
            if end < 0 and len(raw) <= _GAP << 5:
                return
            size = _hexadecimal(bytes(raw[: max(0, end)]).partition(b";")[0].strip())
            if size is None and not self._begun:
                # The header is wrong: these are no chunks.
                self._plain = True
                continue
            if size is None and raw[: end + 1].strip():
                raise MalformedMessage("an invalid chunk")
            del raw[: end + 1]
            self._begun, self._left = True, size or 0
            if size == 0:
                raise MalformedMessage("no more pictures")


def _hexadecimal(text: bytes) -> int | None:
    return int(text, 16) if re.fullmatch(rb"[0-9A-Fa-f]{1,8}", text) else None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
