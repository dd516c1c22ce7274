"""H.264 and H.265 of cameras whose marks, time stamps or packets are not as the standards have them."""

from __future__ import annotations

from typing import Any

import pytest

from edge.camera.odd_streams import MARKS, PACKINGS, STAMPS, packets, pictures
from emflow_edge.camera.pyav_decoder import PyavDecoder, UndecodableFrame
from emflow_edge.rtsp.depacketizer import Depacketizer
from emflow_edge.rtsp.nal import H264
from emflow_edge.rtsp.sdp import VideoTrack

CODECS = ("H264", "H265")


def decoded(codec: str, slices: int = 1, interlaced: bool = False, **odd: Any) -> tuple[int, list[str]]:
    """How many pictures come out of a stream, decoded one after the other as they are complete; and what is said."""
    notices: list[str] = []
    units, decoder, seen = Depacketizer(VideoTrack(codec, 96), notices.append), PyavDecoder(codec, b""), 0
    number = begun = 0
    for picture in packets(codec, slices, interlaced, **odd):
        for packet in picture:
            for unit in units.push(packet, 0.0):
                number += 1
                begun = begun or unit.key
                if begun and unit.intact and (unit.key or unit.follows):
                    try:
                        seen += len(decoder.decode(unit.data, number))
                    except UndecodableFrame:
                        decoder.restart()
    return seen, sorted(set(notices))


def expected(codec: str) -> int:
    """All but the one that ends with the next, and one for which a wrong guess is given up."""
    return len(pictures(codec)) - 2


@pytest.mark.parametrize("slices", [1, 4])
@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("codec", CODECS)
def test_pictures_come_however_their_units_are_packed(codec: str, packing: str, slices: int) -> None:
    count, notices = decoded(codec, slices, packing=packing)
    assert count >= expected(codec)
    odd = ["sends start codes in its RTP packets; the units between them are read"]
    assert notices == (odd if "code" in packing else [])


@pytest.mark.parametrize("packing", ["units", "fragments", "codes between all units 4", "codes inside fragments 3"])
@pytest.mark.parametrize("stamps", STAMPS)
@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("codec", CODECS)
def test_pictures_come_although_marks_and_time_stamps_are_wrong(
    codec: str, marks: str, stamps: str, packing: str
) -> None:
    for slices in (1, 4):
        count, _ = decoded(codec, slices, packing=packing, marks=marks, stamps=stamps)
        assert count >= expected(codec), slices


@pytest.mark.parametrize("marks", MARKS)
def test_fragments_that_do_not_end_are_put_together_whatever_the_marks_say(marks: str) -> None:
    for codec in CODECS:
        count, _ = decoded(codec, packing="fragments without ends", marks=marks)
        # With wrong marks the first group of pictures is lost.
        assert count >= len(pictures(codec)) // 2 - 1


@pytest.mark.parametrize("stamps", STAMPS)
@pytest.mark.parametrize("marks", MARKS)
def test_interlaced_pictures_come_too(marks: str, stamps: str) -> None:
    count, _ = decoded("H264", interlaced=True, marks=marks, stamps=stamps)
    # Two pictures with one time stamp are taken for the fields of one frame.
    assert count >= (len(pictures("H264")) // 2 - 1 if stamps == "every second" else expected("H264"))


def test_a_parameter_set_says_whether_frames_come_as_fields() -> None:
    for interlaced in (False, True):
        sets = [unit for unit in pictures("H264", 1, interlaced)[0] if unit[0] & 31 == 7]
        assert [H264.has_fields(unit) for unit in sets] == [interlaced]
    assert H264.has_fields(b"\x67cut") is None


def test_a_picture_with_right_marks_is_complete_with_its_last_packet() -> None:
    for codec in CODECS:
        for stamps in ("right", "constant", "every packet"):
            units = Depacketizer(VideoTrack(codec, 96))
            for picture in packets(codec, 4, stamps=stamps):
                done = [units.push(packet, 0.0) for packet in picture]
                assert [len(found) for found in done] == [0] * (len(picture) - 1) + [1]


def test_marks_that_were_wrong_for_a_time_are_used_again() -> None:
    notices: list[str] = []
    units = Depacketizer(VideoTrack("H264", 96), notices.append)
    done = []
    for wrong, right in zip(packets("H264", 4, marks="every unit"), packets("H264", 4)):
        picture = wrong if wrong[0].stamp < 5 * 9000 else right
        done.append([len(units.push(packet, 0.0)) for packet in picture])
    assert (sum(done[0]), done[0][-1]) == (1, 0)
    assert [found[-1] for found in done[-10:]] == [1] * 10
    assert set(notices) == {"marks packets as the last ones of a picture that are not; a picture ends with the next"}


def test_lost_packets_spoil_their_picture_and_show_in_the_next() -> None:
    for codec in CODECS:
        units = Depacketizer(VideoTrack(codec, 96))
        done = []
        for number, picture in enumerate(packets(codec, packing="fragments")):
            for packet in picture:
                if number != 12 or packet is picture[-1]:
                    done += units.push(packet, 0.0)
        sound = [unit.intact and (unit.key or unit.follows) for unit in done]
        # The picture with the hole, and the one that needs it.
        assert [index for index, each in enumerate(sound) if not each] == [12, 13]
