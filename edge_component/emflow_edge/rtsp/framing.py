"""RTSP messages and packets out of one stream of bytes (RFC 2326, section 10.12), as cameras send it. No I/O."""

from __future__ import annotations

import re

from emflow_edge.rtsp.messages import MalformedMessage, MessageHead, take_head

_DOLLAR = 0x24
# What may come between messages and packets before it is not RTSP at all.
_MOST_GARBAGE = 1 << 16
_MESSAGE = re.compile(rb"RTSP/|[A-Z_]{3,16} ")
# What has come of one so far.
_PARTLY = re.compile(rb"[A-Z_]{1,16}")
# A packet for a higher channel is none: a session has two.
_HIGHEST = b"\x20"
_BEGINNING = re.compile(rb"RTSP/|\$[\0-\x1f]")


def framed(packet: bytes) -> bytes:
    """A packet between the messages. packet: its channel, and behind it what it carries."""
    return b"$" + packet[:1] + (len(packet) - 1).to_bytes(2, "big") + packet[1:]


class RtspReader:
    """Takes what is whole off the front of a buffer, which others fill."""

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._garbage = 0
        self._head: MessageHead | None = None

    def take(self) -> tuple[MessageHead, bytes] | bytes | None:
        """The next thing that came: a message with its body, or a packet behind its channel; None when none is whole.

        Raises:
            MalformedMessage: what comes is no RTSP.
        """
        buffer = self._buffer
        while self._head is None and buffer:
            if buffer[0] == _DOLLAR and buffer[1:2] < _HIGHEST:
                end = 4 + int.from_bytes(buffer[2:4], "big")
                if len(buffer) < 4 or len(buffer) < end:
                    return None
                self._garbage = 0
                packet = bytes(buffer[1:2] + buffer[4:end])
                del buffer[:end]
                return packet
            if _MESSAGE.match(buffer):
                self._head = take_head(buffer)
                break
            if _PARTLY.fullmatch(buffer):
                return None
            self._resynchronise(buffer)
        if self._head is None or len(buffer) < self._head.length:
            return None
        head, self._head = self._head, None
        body = bytes(buffer[: head.length])
        del buffer[: head.length]
        return head, body

    def _resynchronise(self, buffer: bytearray) -> None:
        """Drop what is neither a message nor a packet, up to what may be one."""
        found = _BEGINNING.search(buffer, 1)
        # The last bytes may be the beginning of a beginning.
        drop = found.start() if found else max(1, len(buffer) - 4)
        self._garbage += drop
        del buffer[:drop]
        if self._garbage > _MOST_GARBAGE:
            raise MalformedMessage("data that is not RTSP")
