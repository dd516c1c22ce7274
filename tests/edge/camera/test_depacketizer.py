"""Pictures out of RTP payloads, written byte by byte as RFC 6184 and RFC 7798 have them."""

from __future__ import annotations

from emflow_edge.rtsp.depacketizer import START, AccessUnit, Depacketizer
from emflow_edge.rtsp.rtp import RtpPacket
from emflow_edge.rtsp.sdp import VideoTrack
from support import zip_strict

SPS, PPS, IDR, SLICE, SPARE = b"\x67sps", b"\x68pps", b"\x65idr picture", b"\x41slice of it", b"\x01spare"


class Sender:
    """A camera that counts its packets."""

    def __init__(self, codec: str = "H264", numbered: bool = False) -> None:
        self.units = Depacketizer(VideoTrack(codec, 96, numbered=numbered))
        self.sequence = 65534
        self.got: list[AccessUnit] = []

    def send(self, payload: bytes, *, end: bool = False, stamp: int = 0, lose: bool = False, kind: int = 96) -> None:
        self.sequence = (self.sequence + 1) & 0xFFFF
        if not lose:
            packet = RtpPacket(end, kind, self.sequence, stamp, 7, payload)
            self.got += self.units.push(packet, float(self.sequence))

    def data(self) -> list[bytes]:
        return [unit.data for unit in self.got]


def fragments(unit: bytes, size: int = 4) -> list[bytes]:
    """FU-A: the unit's header goes into the first two bytes of each fragment."""
    pieces = [unit[at : at + size] for at in range(1, len(unit), size)]
    flags = [(0x80 if number == 0 else 0) | (0x40 if number == len(pieces) - 1 else 0) for number in range(len(pieces))]
    return [bytes([unit[0] & 0xE0 | 28, flag | unit[0] & 31]) + piece for flag, piece in zip_strict(flags, pieces)]


def aggregate(*units: bytes) -> bytes:
    return b"\x78" + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


def test_a_picture_is_complete_with_the_packet_that_is_marked() -> None:
    sender = Sender()
    sender.send(SPS)
    sender.send(PPS)
    sender.send(IDR, end=True)
    assert sender.data() == [START + SPS + START + PPS + START + IDR]
    assert sender.got[0].key
    assert sender.got[0].intact
    assert sender.got[0].arrived_at == 1.0


def test_aggregates_and_fragments_are_put_together() -> None:
    sender = Sender()
    sender.send(aggregate(SPS, PPS))
    for number, payload in enumerate(fragments(IDR), 1):
        sender.send(payload, end=number == len(fragments(IDR)))
    sender.send(aggregate(SLICE, SLICE) + b"\0\0", end=True, stamp=3600)  # zeros behind, as some cameras leave them
    assert sender.data() == [START + SPS + START + PPS + START + IDR, START + SLICE + START + SLICE]
    assert [(unit.key, unit.intact, unit.follows, unit.stamp) for unit in sender.got] == [
        (True, True, False, 0),
        (False, True, True, 3600),
    ]


def test_what_no_other_picture_needs_is_reported() -> None:
    sender = Sender()
    sender.send(SPARE, end=True, stamp=1)
    sender.send(SLICE, end=True, stamp=2)
    assert [unit.disposable for unit in sender.got] == [True, False]


def test_a_recovery_point_is_a_place_to_begin() -> None:
    sender = Sender()
    sender.send(b"\x06\x06\x01\x84\x80")
    sender.send(SLICE, end=True)
    sender.send(b"\x06\x05\x01\x00\x80", stamp=1)
    sender.send(SLICE, end=True, stamp=1)
    assert [unit.key for unit in sender.got] == [True, False]


def test_a_lost_fragment_spoils_its_picture_and_the_next_one_says_so() -> None:
    sender = Sender()
    sender.send(IDR, end=True)
    pieces = fragments(SLICE)
    for number, payload in enumerate(pieces, 1):
        sender.send(payload, end=number == len(pieces), stamp=1, lose=number == 2)
    sender.send(SLICE, end=True, stamp=2)
    sender.send(SLICE, end=True, stamp=3)
    assert [(unit.intact, unit.follows) for unit in sender.got] == [
        (True, False),
        (False, False),
        (True, False),
        (True, True),
    ]


def test_a_lost_last_packet_does_not_glue_two_pictures_together() -> None:
    sender = Sender()
    sender.send(IDR, end=True)
    pieces = fragments(SLICE)
    for number, payload in enumerate(pieces, 1):
        sender.send(payload, end=number == len(pieces), stamp=1, lose=number == len(pieces))
    sender.send(SLICE, end=True, stamp=2)
    assert [unit.stamp for unit in sender.got] == [0, 1, 2]
    assert not sender.got[1].intact
    assert sender.got[2].data == START + SLICE


def test_lost_whole_pictures_show_in_the_one_after() -> None:
    sender = Sender()
    sender.send(IDR, end=True)
    sender.send(SLICE, end=True, stamp=1, lose=True)
    sender.send(SLICE, end=True, stamp=2)
    assert not sender.got[1].intact


def test_a_camera_that_marks_nothing_is_read_by_its_time_stamps() -> None:
    sender = Sender()
    for stamp in (1, 2, 3):
        sender.send(SLICE, stamp=stamp)
        sender.send(SLICE, stamp=stamp)
    assert [(unit.stamp, unit.data) for unit in sender.got] == [
        (1, START + SLICE + START + SLICE),
        (2, START + SLICE + START + SLICE),
    ]


def test_a_camera_that_marks_every_slice_is_seen_through() -> None:
    sender = Sender()
    for stamp in range(1, 6):
        sender.send(SLICE, end=True, stamp=stamp)
        sender.send(SLICE, end=True, stamp=stamp)
    assert [unit.data for unit in sender.got[2:]] == [START + SLICE + START + SLICE] * 3


def test_marks_on_parameter_sets_do_not_end_a_picture() -> None:
    sender = Sender()
    sender.send(SPS, end=True)
    sender.send(PPS, end=True)
    sender.send(IDR, end=True)
    assert sender.data() == [START + SPS + START + PPS + START + IDR]


def test_parameter_sets_with_a_time_of_their_own_belong_to_the_next_picture() -> None:
    sender = Sender()
    sender.send(aggregate(SPS, PPS), stamp=1)
    sender.send(IDR, end=True, stamp=2)
    assert sender.data() == [START + SPS + START + PPS + START + IDR]


def test_other_payload_types_and_repeated_packets_are_left() -> None:
    sender = Sender()
    sender.send(SLICE, end=True, stamp=1)
    sender.send(b"audio", end=True, stamp=5, kind=97)
    sender.sequence -= 1
    sender.units.push(RtpPacket(True, 96, sender.sequence, 1, 7, SLICE), 0.0)
    sender.send(SLICE, end=True, stamp=2)
    assert [(unit.stamp, unit.intact) for unit in sender.got] == [(1, True), (2, True)]


def test_a_stream_that_begins_anew_under_another_name_has_a_gap() -> None:
    sender = Sender()
    sender.send(SLICE, end=True, stamp=1)
    done = sender.units.push(RtpPacket(True, 96, 5, 2, 8, SLICE), 0.0)
    assert [(unit.intact, unit.follows) for unit in done] == [(False, False)]


VPS5, IDR5, TRAIL5, SPARE5 = b"\x40\x01vps", b"\x26\x01idr picture", b"\x02\x01trail", b"\x00\x01spare"


def test_h265_is_put_together_too() -> None:
    sender = Sender("H265")
    sender.send(b"\x60\x01" + len(VPS5).to_bytes(2, "big") + VPS5 + len(VPS5).to_bytes(2, "big") + VPS5)
    sender.send(b"\x62\x01\x93" + IDR5[2:6])  # FU of type 19, begins
    sender.send(b"\x62\x01\x53" + IDR5[6:], end=True)  # ends
    sender.send(TRAIL5, end=True, stamp=1)
    sender.send(SPARE5, end=True, stamp=2)
    assert sender.data() == [START + VPS5 + START + VPS5 + START + IDR5, START + TRAIL5, START + SPARE5]
    assert [(unit.key, unit.disposable) for unit in sender.got] == [(True, False), (False, False), (False, True)]


def test_h265_with_decoding_order_numbers_is_read_without_them() -> None:
    sender = Sender("H265", numbered=True)
    sender.send(b"\x60\x01\0\1" + len(VPS5).to_bytes(2, "big") + VPS5 + b"\0" + len(VPS5).to_bytes(2, "big") + VPS5)
    sender.send(b"\x62\x01\x93\0\2" + IDR5[2:6])
    sender.send(b"\x62\x01\x53" + IDR5[6:], end=True)
    sender.send(TRAIL5[:2] + b"\0\3" + TRAIL5[2:], end=True, stamp=1)
    assert sender.data() == [START + VPS5 + START + VPS5 + START + IDR5, START + TRAIL5]
