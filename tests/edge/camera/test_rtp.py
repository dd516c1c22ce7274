import struct

import pytest

from emflow_edge.rtsp import rtcp, rtp


def made(sequence: int, payload: bytes = b"x", first: int = 0x80, marker: bool = False, stamp: int = 0) -> bytes:
    return struct.pack("!BBHII", first, 96 | marker << 7, sequence & 0xFFFF, stamp, 7) + payload


def pushed(*sequences: int, interval: float = 0.0) -> list[int]:
    """The order in which packets come out that come in this order."""
    reorder = rtp.ReorderBuffer()
    out = []
    for at, sequence in enumerate(sequences):
        one = rtp.parse_packet(made(sequence))
        assert one
        out += [packet.sequence for packet, _ in reorder.push(one, at * interval)]
    return out


def test_a_packet_is_read_without_its_extension_its_sources_and_its_padding() -> None:
    data = made(5, b"\0" * 8 + b"\xbe\xde\0\1" + b"\0" * 4 + b"video" + b"\0\0\3", first=0xB2, marker=True, stamp=9)
    assert rtp.parse_packet(data) == rtp.RtpPacket(True, 96, 5, 9, 7, b"video")


@pytest.mark.parametrize(
    "data",
    [b"", made(1)[:11], made(1, b""), made(1, b"x", first=0x40), made(1, b"\0\0", first=0x90), made(1, b"\xff", 0xA0)],
    ids=["empty", "short", "no payload", "version 1", "half an extension", "more padding than payload"],
)
def test_what_is_no_packet_is_left(data: bytes) -> None:
    assert rtp.parse_packet(data) is None


def test_packets_that_overtook_each_other_come_out_in_order() -> None:
    assert pushed(1, 3, 2, 5, 4, 6) == [1, 2, 3, 4, 5, 6]
    assert pushed(65534, 0, 65535, 1) == [65534, 65535, 0, 1]


def test_packets_that_come_twice_or_too_late_are_left() -> None:
    assert pushed(1, 2, 2, 1, 3) == [1, 2, 3]


def test_a_packet_that_never_comes_is_not_waited_for_for_long() -> None:
    assert pushed(1, 3, 4, 5, 6, 7, interval=0.011) == [1, 3, 4, 5, 6, 7]
    assert pushed(1, *range(3, 90)) == [1, *range(3, 90)]


def test_a_camera_that_counts_from_anew_is_followed() -> None:
    assert pushed(40000, 40001, 10, 11, 12, 13, 14, interval=0.011) == [40000, 40001, 10, 11, 12, 13, 14]
    assert pushed(10, 11, 40000, 40001) == [10, 11, 40000, 40001]


def test_numbers_that_begin_anew_are_counted_on() -> None:
    unwrapped = rtp.SequenceUnwrapper(16)
    assert [unwrapped.unwrap(value) for value in (65530, 65535, 3, 1, 40, 65535)] == [
        65530,
        65535,
        65539,
        65537,
        65576,
        65535,
    ]


def sender_report(unix: float, stamp: int) -> bytes:
    seconds = int(unix)
    return struct.pack("!BBHIIIIII", 0x80, 200, 6, 7, seconds + 2208988800, int((unix - seconds) * 2**32), stamp, 1, 2)


def test_a_sender_report_tells_when_a_frame_was_taken() -> None:
    report, bye = rtcp.parse_compound(sender_report(1000.5, 2**32 - 9000) + struct.pack("!BBHI", 0x80, 203, 1, 7))
    assert bye
    assert report
    clock = rtcp.CameraClock(90000)
    assert clock.capture_time(0, 1000.75) == 1000.75  # before any report: when it came
    clock.report(report)
    assert clock.capture_time(0, 1000.75) == pytest.approx(1000.6)
    assert clock.capture_time(2**32 - 18000, 1000.75) == pytest.approx(1000.4)


@pytest.mark.parametrize("wrong", [3600.0, -3600.0, -2.0, 2.5])
def test_a_camera_whose_clock_is_wrong_is_not_believed(wrong: float) -> None:
    clock = rtcp.CameraClock(90000)
    report, _ = rtcp.parse_compound(sender_report(1000.0 - wrong, 0))
    assert report
    clock.report(report)
    assert clock.capture_time(0, 1000.0) == 1000.0


def test_a_frame_is_never_from_the_future() -> None:
    clock = rtcp.CameraClock(90000)
    report, _ = rtcp.parse_compound(sender_report(1000.1, 0))
    assert report
    clock.report(report)
    assert clock.capture_time(0, 1000.0) == 1000.0


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\xc8\xff\xff", b"\x80\xc8\0\1\0\0\0\0", b"\0" * 40])
def test_half_a_report_is_none(data: bytes) -> None:
    assert rtcp.parse_compound(data) == (None, False)


def test_a_receiver_report_counts_what_did_not_come() -> None:
    reception = rtcp.ReceptionStatistics(1, 90000)
    for sequence in (65533, 65534, 0, 1, 3):
        reception.packet(7, sequence, 0, 10.0)
    report, _ = rtcp.parse_compound(sender_report(1000.5, 0))
    assert report
    reception.sender(report, 10.0)
    data = reception.compound()
    assert data[:2] == b"\x81\xc9"
    own, source, lost, highest, _, last, _ = struct.unpack_from("!IIIIIII", data, 4)
    assert (own, source, lost & 0xFFFFFF, highest, last) == (
        1,
        7,
        2,
        65539,
        (1000 + 2208988800) << 16 & 0xFFFFFFFF | 0x8000,
    )
    assert lost >> 24 == 256 * 2 // 7
    assert len(data) % 4 == 0
    assert data[32:34] == b"\x81\xca"
    assert b"emflow" in data


def test_a_receiver_report_before_any_packet_says_nothing_of_a_source() -> None:
    assert rtcp.ReceptionStatistics(1, 90000).compound()[:8] == b"\x80\xc9\0\1\0\0\0\1"
