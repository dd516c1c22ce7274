"""Event-stream frames, byte for byte."""

from __future__ import annotations

import struct
from binascii import crc32

import pytest

from emflow_emulator.core.ipc.frames import BadFrame, Decoder, Flags, Kind, Message, encode

MESSAGE = Message(Kind.MESSAGE, 3, Flags.TERMINATE, b'{"a": 1}', {":content-type": "application/json", "n": -1})


def test_a_frame_has_lengths_and_checksums_where_the_format_wants_them() -> None:
    frame = encode(Message(Kind.CONNECT_ACK, flags=Flags.ACCEPTED))
    total, headers, check = struct.unpack_from("!III", frame)

    assert total == len(frame)
    assert headers == total - 16
    assert check == crc32(frame[:8])
    assert struct.unpack("!I", frame[-4:])[0] == crc32(frame[:-4])
    assert b"\x0d:message-type\x04\x00\x00\x00\x05" in frame
    assert b"\x0e:message-flags\x04\x00\x00\x00\x01" in frame
    assert b"\x0a:stream-id\x04\x00\x00\x00\x00" in frame


def test_messages_come_out_as_they_went_in_however_the_bytes_are_cut() -> None:
    data = encode(MESSAGE) + encode(Message(Kind.PING))
    for size in (1, 7, len(data)):
        decoder = Decoder()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [each for piece in pieces for each in decoder.feed(piece)] == [MESSAGE, Message(Kind.PING)]


@pytest.mark.parametrize("place", [8, 20, -1])
def test_a_wrong_byte_is_noticed(place: int) -> None:
    frame = bytearray(encode(MESSAGE))
    frame[place] ^= 1

    with pytest.raises(BadFrame):
        list(Decoder().feed(bytes(frame)))


def test_a_message_of_no_known_type_is_refused() -> None:
    with pytest.raises(BadFrame):
        list(Decoder().feed(encode(Message(99))))  # type: ignore[arg-type]
