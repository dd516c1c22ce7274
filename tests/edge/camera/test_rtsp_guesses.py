"""RTSP cameras that do otherwise than they announced, that never pause, or that send us elsewhere."""

from __future__ import annotations

import base64
import re
import struct
import threading
import time
from collections.abc import Callable

import pytest

from edge.camera.scripted_camera import SDP, ScriptedCamera, answered, sequence, tidy
from emflow_edge.camera import registry
from emflow_edge.rtsp.client import RtspSession
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_edge.rtsp.first_guess import FirstGuess
from emflow_schema.edge_config import Stream
from emflow_schema.stream_url import split

Start = Callable[..., ScriptedCamera]
USER = ("admin", "s3cret")
BASIC = "Basic " + base64.b64encode(b"admin:s3cret").decode()
ASKED = 'WWW-Authenticate: Basic realm="x"\r\n'


def video(number: int, channel: int = 0, kind: int = 96) -> bytes:
    data = struct.pack("!BBHII", 0x80, 0x80 | kind, number, 0, 7) + b"\x65picture"
    return b"$" + bytes([channel]) + len(data).to_bytes(2, "big") + data


REPORT = b"$\1" + struct.pack("!HBBHIQIII", 28, 0x80, 200, 6, 7, 0, 0, 0, 0)


class Opened:
    """A session, and what it notices."""

    def __init__(
        self,
        camera: ScriptedCamera,
        credentials: tuple[str, str] = ("", ""),
        *,
        udp: bool = False,
        timeout: float = 30.0,
        path: str = "/live",
    ) -> None:
        self.notices: list[str] = []
        place = split(f"rtsp://127.0.0.1:{camera.port}{path}")
        self.session = RtspSession(place, udp, credentials, None, timeout, threading.Event(), self.notices.append)


@pytest.mark.parametrize("number", ["{} - 1", "{} + 100", "0", "1", "none", "{} DESCRIBE"])
def test_answers_with_wrong_numbers_are_taken_in_their_order(scripted: Start, number: str) -> None:
    def answer(head: str) -> bytes:
        wrong = number.format(sequence(head))
        wrong = str(eval(wrong)) if re.fullmatch(r"[-+ \d]+", wrong) else wrong
        return tidy(head).replace(f"CSeq: {sequence(head)}\r\n".encode(), f"CSeq: {wrong}\r\n".encode())

    camera = scripted(answer)
    camera.video = video(1)
    began = time.monotonic()
    opened = Opened(camera)
    assert opened.session.receive(30)
    opened.session.close()
    assert time.monotonic() - began < 20
    assert set(opened.notices) == {"answers with wrong numbers (CSeq); its answers are taken in their order"}


def test_an_answer_that_comes_twice_is_not_taken_for_the_next(scripted: Start) -> None:
    camera = scripted(lambda head: tidy(head) * (2 if head.startswith(("OPTIONS", "DESCRIBE")) else 1))
    camera.video = video(1)
    opened = Opened(camera)
    assert opened.session.receive(30)
    opened.session.close()
    assert opened.notices == []
    assert camera.methods[:4] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]


def test_an_answer_that_announces_another_is_read_over(scripted: Start) -> None:
    camera = scripted(lambda head: answered(head, "100 Continue") + tidy(head))
    camera.video = video(1)
    opened = Opened(camera)
    assert opened.session.receive(30)
    opened.session.close()


def test_a_session_that_comes_back_under_another_name_goes_on(scripted: Start) -> None:
    camera = scripted(
        lambda head: answered(head, headers="Session: other\r\n") if head.startswith("PLAY") else tidy(head)
    )
    camera.video = video(1)
    opened = Opened(camera)
    assert opened.session.receive(30)
    opened.session.close()


@pytest.mark.parametrize(
    ("transport", "sent"), [("RTP/AVP/TCP;interleaved=4-5", 0), ("RTP/AVP/TCP;interleaved=0-1", 2), ("", 6)]
)
def test_video_on_another_channel_than_announced_is_read(scripted: Start, transport: str, sent: int) -> None:
    camera = scripted(
        lambda head: (
            answered(head, headers=f"Session: 1\r\nTransport: {transport}\r\n")
            if head.startswith("SETUP")
            else tidy(head)
        )
    )
    camera.endless = video(1, sent)
    opened = Opened(camera)
    assert opened.session.receive(30)
    opened.session.close()
    assert opened.notices == [f"sends its video on channel {sent}, not on the one in Transport; it is read from there"]


def test_video_of_another_payload_type_than_described_is_read(scripted: Start) -> None:
    camera = scripted()
    camera.endless = video(1, kind=98)
    opened = Opened(camera)
    assert {packet.payload_type for packet, _ in opened.session.receive(30)} == {96}
    opened.session.close()
    assert opened.notices == ["sends its video as payload type 98, not as its description says"]


def test_what_was_announced_counts_as_soon_as_it_comes() -> None:
    guess = FirstGuess(96, patience=0.5)
    assert [guess.accepts(98, 0.1 * tenth) for tenth in range(5)] == [False] * 5
    assert guess.accepts(98, 0.6)
    assert (guess.accepts(97, 0.7), guess.accepts(98, 0.8), guess.accepts(96, 0.9), guess.accepts(98, 1.0)) == (
        False,
        True,
        True,
        False,
    )
    sure = FirstGuess(96, patience=0.5)
    assert sure.accepts(96, 0.0)
    assert not any(sure.accepts(98, second) for second in range(10))


def test_a_camera_that_answers_udp_with_tcp_is_read_over_its_connection(scripted: Start) -> None:
    camera = scripted()
    camera.video = video(1)
    opened = Opened(camera, udp=True)
    assert opened.session.receive(30)
    opened.session.close()
    assert opened.notices == ["answers UDP with TCP; its video is read over the RTSP connection"]


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize(
    ("endless", "came"),
    [
        (REPORT, "reports (RTCP)"),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n", "messages"),
        (b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * 100 + b"\r\n", "messages"),
        (video(1, 2, kind=8), "packets on other channels"),
        (video(1, 0, kind=72), "packets of other payload types"),
    ],
)
def test_a_camera_that_never_pauses_is_lost_when_no_video_comes(
    scripted: Start, endless: bytes, came: str, udp: bool
) -> None:
    def answer(head: str) -> bytes:
        if udp and head.startswith("SETUP"):
            return answered(head, headers="Session: 1\r\nTransport: RTP/AVP;unicast\r\n")
        return b"" if head.startswith("RTSP/") else tidy(head)

    camera = scripted(answer)
    camera.endless = endless
    opened = Opened(camera, udp=udp)
    began = time.monotonic()
    with pytest.raises(CameraLost, match=rf"^sent no complete picture for 0\.3 s, but \d+ {re.escape(came)}"):
        opened.session.receive(0.3)
    assert time.monotonic() - began < 20
    opened.session.close()


def test_a_camera_that_talks_instead_of_answering_is_given_up(scripted: Start) -> None:
    camera = scripted(lambda head: b"" if head.startswith("DESCRIBE") else tidy(head))
    camera.endless, camera.endless_after = video(1) + REPORT, ("DESCRIBE",)
    began = time.monotonic()
    with pytest.raises(CameraLost, match="does not answer"):
        Opened(camera, timeout=0.4)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_credentials_do_not_follow_a_redirect_to_another_origin(scripted: Start, host: str) -> None:
    second = scripted(lambda head: answered(head, "401 Unauthorized", ASKED))
    to = f"Location: rtsp://{host}:{second.port}/moved\r\n"
    first = scripted(lambda head: answered(head, "302 Moved", to) if head.startswith("DESCRIBE") else tidy(head))
    notices: list[str] = []
    place = split(f"rtsp://127.0.0.1:{first.port}/live")
    with pytest.raises(CameraRefused) as caught:
        RtspSession(place, False, USER, None, 5.0, threading.Event(), notices.append)
    assert str(caught.value) == (
        f"redirects to rtsp://{host}:{second.port}, which requires user and password, but none are configured for it;"
        " write that address in url, if it is the camera's"
    )
    assert notices == [f"redirects to rtsp://{host}:{second.port}; user and password are not sent there"]
    assert not any("Authorization" in head for head in second.heads)


def test_other_programs_are_not_given_credentials_for_another_origin(scripted: Start) -> None:
    second = scripted(lambda head: None if head.startswith("PLAY") else tidy(head))
    to = f"Location: rtsp://127.0.0.1:{second.port}/moved\r\n"

    def answer(head: str) -> bytes:
        if head.startswith("OPTIONS"):
            return tidy(head)
        given = f"Authorization: {BASIC}" in head
        return answered(head, "302 Moved", to) if given else answered(head, "401 Unauthorized", ASKED)

    first = scripted(answer)
    stream = Stream("front", f"rtsp://127.0.0.1:{first.port}/live", backend="opencv")
    with pytest.raises(CameraLost, match=r"closed the connection|gives no video"):
        registry.open_camera(stream, USER, threading.Event())
    assert "PLAY" in second.methods
    assert not any("Authorization" in head for head in second.heads)


def test_credentials_go_back_to_their_own_origin(scripted: Start) -> None:
    home = scripted()
    away = scripted(
        lambda head: (
            answered(head, "302 Moved", f"Location: rtspt://127.0.0.1:{home.port}/live/2\r\n")
            if head.startswith("DESCRIBE")
            else tidy(head)
        )
    )

    def answer(head: str) -> bytes:
        if head.startswith("DESCRIBE") and "/live/2" not in head:
            return answered(head, "302 Moved", f"Location: rtsp://127.0.0.1:{away.port}/\r\n")
        if head.startswith("OPTIONS") or f"Authorization: {BASIC}" in head:
            return tidy(head)
        return answered(head, "401 Unauthorized", ASKED)

    home.answer, home.video = answer, video(1)
    opened = Opened(home, USER)
    assert opened.session.receive(30)
    opened.session.close()
    assert not any("Authorization" in head for head in away.heads)


def test_a_relative_redirect_stays_at_its_origin(scripted: Start) -> None:
    def answer(head: str) -> bytes:
        if head.startswith("DESCRIBE") and "/moved" not in head:
            return answered(head, "301 Moved", "Location: /moved\r\n")
        if head.startswith("OPTIONS") or f"Authorization: {BASIC}" in head:
            return tidy(head)
        return answered(head, "401 Unauthorized", ASKED)

    camera = scripted(answer)
    camera.video = video(1)
    opened = Opened(camera, USER)
    assert opened.session.receive(30)
    opened.session.close()
    assert opened.notices == []


def test_a_base_at_another_host_is_asked_of_the_camera_itself(scripted: Start) -> None:
    other = scripted()
    base = f"Content-Base: rtsp://localhost:{other.port}/elsewhere/\r\n"

    def answer(head: str) -> bytes:
        if not head.startswith("OPTIONS") and f"Authorization: {BASIC}" not in head:
            return answered(head, "401 Unauthorized", ASKED)
        return answered(head, headers=base, body=SDP) if head.startswith("DESCRIBE") else tidy(head)

    camera = scripted(answer)
    camera.video = video(1)
    opened = Opened(camera, USER)
    assert opened.session.receive(30)
    opened.session.close()
    assert other.heads == []


def test_a_password_is_not_sent_in_clear_after_a_digest_was_asked_for(scripted: Start) -> None:
    digest = 'WWW-Authenticate: Digest realm="{}", nonce="n"\r\n'

    def answer(head: str) -> bytes:
        method = head.split(" ")[0]
        if method == "SETUP" and 'realm="b"' not in head:
            return answered(head, "401 Unauthorized", digest.format("b"))
        if method == "PLAY":
            return answered(head, "401 Unauthorized", ASKED)
        if method == "DESCRIBE" and "Authorization" not in head:
            return answered(head, "401 Unauthorized", digest.format("a"))
        return tidy(head)

    camera = scripted(answer)
    with pytest.raises(CameraRefused, match="asks for the password itself, after it asked for a digest of it"):
        Opened(camera, USER)
    assert not any(BASIC in head for head in camera.heads)
    assert camera.methods.count("SETUP") == 2
