"""Whatever a camera sends: no crash, no endless loop, and never more kept than there may be."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from emflow_edge.camera.multipart import ChunkedBody, MultipartParser
from emflow_edge.rtsp import rtcp, rtp, sdp
from emflow_edge.rtsp.auth import Authenticator, best_challenge
from emflow_edge.rtsp.depacketizer import Depacketizer
from emflow_edge.rtsp.framing import RtspReader
from emflow_edge.rtsp.messages import LONGEST_BODY, LONGEST_HEAD, MalformedMessage, take_head
from emflow_schema.stream_url import redacted, split

# Random bytes hardly ever get past a first line, so these are made of what cameras say.
WORDS = st.sampled_from(
    [
        *(b"RTSP/1.0 200 OK\r\n", b"OPTIONS * RTSP/1.0\r\n", b"RTSP/", b"\r\n\r\n", b"\n\n", b"\r\n", b"\n"),
        *(b"CSeq: 1\r\n", b"content-length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999\r\n"),
        *(b"$\0\0\4data", b"$\1\0\0", b"$\0\xff\xff", b"$", b"\0", b"hello", b" : ", b"\xff\xd8\xff\xd9"),
        *(
            b"\xff\xd8\xff\xdb\0\2",
            b"\xff\xda\0\2\1\2",
            b"\xff\xd9",
            b"\xff\xd8",
            b"5\r\n",
            b"Content-Length: 4\r\n\r\n",
        ),
        *(b"--frame\r\n", b"--frame--", b"Content-Type: image/jpeg\r\n", b"X-Timestamp: nan\r\n"),
    ]
)
STREAM = st.lists(st.one_of(WORDS, st.binary(max_size=12)), max_size=60)
LINES = st.sampled_from(
    [
        *("v=0", "m=video 0 RTP/AVP 96", "m=video 0 RTP/AVP 26 96 x", "m=audio 0 RTP/AVP 0", "m=video", "m="),
        *("a=rtpmap:96 H264/90000", "a=rtpmap:96 H265/0", "a=rtpmap:96", "a=rtpmap:999999999999 X/1", "a=control:*"),
        *("a=fmtp:96 sprop-parameter-sets=Z,=,!;;=", "a=fmtp:", "a=framerate:nan", "a=framerate:1e999", "a=control:"),
    ]
)


@given(STREAM)
def test_a_connection_takes_anything(pieces: list[bytes]) -> None:
    buffer = bytearray()
    reader = RtspReader(buffer)
    with contextlib.suppress(MalformedMessage):
        for piece in pieces:
            buffer += piece
            left = len(buffer) + 1
            while reader.take() is not None:
                assert len(buffer) < left
                left = len(buffer)
        assert len(buffer) <= LONGEST_HEAD + LONGEST_BODY + 65540


@given(STREAM)
def test_heads_and_parts_are_taken_or_refused(pieces: list[bytes]) -> None:
    with contextlib.suppress(MalformedMessage):
        head = take_head(bytearray(b"".join(pieces)))
        if head:
            head.length, head.status, head.get("cseq")
    for boundary in ("frame", ""):
        parts, buffer, chunks = MultipartParser(boundary), bytearray(), ChunkedBody()
        with contextlib.suppress(MalformedMessage):
            for piece in pieces:
                buffer += piece
                parts.read(buffer, 0.0)
        with contextlib.suppress(MalformedMessage):
            for piece in pieces:
                chunks.read(bytearray(piece))


@given(st.one_of(st.text(), st.lists(LINES).map("\r\n".join)))
def test_any_description_is_read(text: str) -> None:
    found = sdp.find_video(text)
    if found:
        assert 0 <= found.fps <= 1000
        assert found.rate > 0
        assert sdp.control_url("rtsp://camera/live", found.control)


@given(st.lists(st.one_of(st.text(), st.sampled_from(["Basic", "Digest ", 'nonce="a\\"b"', "algorithm=", ","]))))
def test_any_challenge_is_answered_or_not(words: list[str]) -> None:
    asked = best_challenge([" ".join(words)])
    if asked:
        assert Authenticator(asked, "user", 'a\nb"c').header("GET", "/")


# Headers of units, fragments and aggregates, and what makes the difference between them.
PAYLOAD = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\0\0\1", b"\0\0\0\1", b"\x67\x42", b"\x65\x88", b"\x41\x9a", b"\x41\x1a", b"\x06\x06", b"\x09"]
        ),
        st.sampled_from(
            [b"\x7c\x85", b"\x7c\x05", b"\x7c\x45", b"\x1c\x80", b"\x62\x01\x93", b"\x62\x01\x53", b"\x26\x01\x80"]
        ),
        st.sampled_from([b"\x78\0\x04", b"\x60\x01\0\x04", b"\x02\x01\x80", b"\x02\x01\x10"]),
        st.binary(max_size=12),
    ),
    max_size=5,
).map(b"".join)


@given(st.lists(st.tuples(PAYLOAD, st.booleans(), st.sampled_from([0, 0, 0, 1, 3]), st.integers(0, 2)), max_size=40))
def test_any_payloads_give_units_or_none(payloads: list[tuple[bytes, bool, int, int]]) -> None:
    for codec in ("H264", "H265"):
        for numbered in (False, True):
            units = Depacketizer(sdp.VideoTrack(codec, 96, numbered=numbered))
            sequence = 0
            for payload, marker, skipped, stamp in payloads:
                sequence = (sequence + 1 + skipped) & 0xFFFF
                for unit in units.push(rtp.RtpPacket(marker, 96, sequence, stamp, 7, payload), 0.0):
                    assert len(unit.data) <= sum(len(one) + 4 for one, _, _, _ in payloads) * 4


@given(st.lists(st.binary(max_size=64)))
def test_any_packets_are_ordered_and_read(packets: list[bytes]) -> None:
    reorder, reception = rtp.ReorderBuffer(), rtcp.ReceptionStatistics(1, 90000)
    came = went = 0
    for number, data in enumerate(packets):
        rtcp.parse_compound(data)
        one = rtp.parse_packet(b"\x80" + data[1:])
        if one:
            came += 1
            went += len(reorder.push(one, number / 100))
            reception.packet(one.ssrc, one.sequence, one.stamp, number / 100)
            assert len(reception.compound()) % 4 == 0
    assert went <= came


@given(st.text(st.sampled_from("rtsp:/@?#[]1%a.é\0 ")), st.sampled_from(["rtsp://", "https://", "file:///", ""]))
def test_any_url_is_taken_apart_or_refused(text: str, scheme: str) -> None:
    redacted(scheme + text)
    with contextlib.suppress(ValueError):
        place = split(scheme + text)
        assert place.authority or place.path
