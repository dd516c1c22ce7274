"""The RTSP client against cameras whose every byte the test writes."""

from __future__ import annotations

import re
import ssl
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.camera.scripted_camera import SDP, ScriptedCamera, answered, tidy
from emflow_edge.rtsp.buffered_socket import tls_context
from emflow_edge.rtsp.client import RtspSession
from emflow_edge.rtsp.errors import CameraLost, CameraRefused, UnsupportedCodec
from emflow_schema.stream_url import split
from support import until

Start = Callable[..., ScriptedCamera]
USER = ("admin", "s3cret")


def packet(sequence: int, channel: int = 0) -> bytes:
    data = struct.pack("!BBHII", 0x80, 0x80 | 96, sequence, 0, 7) + b"\x65picture"
    return b"$" + bytes([channel]) + len(data).to_bytes(2, "big") + data


def opened(
    camera: ScriptedCamera,
    credentials: tuple[str, str] = ("", ""),
    *,
    scheme: str = "rtsp",
    ca: str | None = None,
    timeout: float = 30.0,
) -> RtspSession:
    place = split(f"{scheme}://127.0.0.1:{camera.port}/live?channel=1")
    context = tls_context(ca) if ca is not None else None
    return RtspSession(place, False, credentials, context, timeout, threading.Event())


def test_a_tidy_camera_is_asked_in_order_and_its_packets_come(scripted: Start) -> None:
    camera = scripted()
    camera.video = packet(1) + packet(2)
    session = opened(camera)
    packets = session.receive(30)
    session.close()
    assert [one.sequence for one, _ in packets][:1] == [1]
    assert camera.methods[:4] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]
    url = f"rtsp://127.0.0.1:{camera.port}/live?channel=1"
    assert [head.split(" ")[1] for head in camera.heads[:4]] == [url, url, f"{url}/track1", url]
    assert "Session: 12345" in camera.heads[3]
    until(lambda: "TEARDOWN" in camera.methods)


def test_a_sloppy_camera_is_understood(scripted: Start) -> None:
    """Bare line feeds, lower case, no CSeq, bytes between the answers, other channels than were asked for."""

    def answer(head: str) -> bytes:
        method = head.split(" ")[0]
        if method == "OPTIONS":
            return b"RTSP/1.0 501\n\n"
        if method == "DESCRIBE":
            sdp = SDP.replace("\r", "")
            head = f"RTSP/1.0 200 OK\ncontent-length: {len(sdp)}\ncontent-base: /other/\n\n"
            return f"\0\0trailing\r\n{head}{sdp}".encode()
        if method == "SETUP":
            return packet(9) + b"RTSP/1.0 200 OK\nsession: 7 ; timeout=soon\ntransport: RTP/AVP/TCP;interleaved=4-5\n\n"
        return b"RTSP/1.0 200 OK\n\n"

    camera = scripted(answer)
    camera.video = b"junk$" + packet(8, channel=2) + packet(5, channel=4)
    session = opened(camera)
    got = session.receive(30)
    session.close()
    assert [one.sequence for one, _ in got] == [5]
    assert camera.heads[2].split(" ")[1] == f"rtsp://127.0.0.1:{camera.port}/other/track1"


@pytest.mark.parametrize(
    "challenge",
    [
        'Basic realm="x"',
        'Digest realm="x", nonce="n"',
        'Digest realm="x", nonce="n", algorithm=SHA-256, qop="auth"',
    ],
)
def test_user_and_password_are_given_when_they_are_asked_for(scripted: Start, challenge: str) -> None:
    def answer(head: str) -> bytes:
        if head.startswith("OPTIONS") or "Authorization: " in head:
            return tidy(head)
        return answered(head, "401 Unauthorized", f"WWW-Authenticate: {challenge}\r\n")

    camera = scripted(answer)
    camera.video = packet(1)
    session = opened(camera, USER)
    assert session.receive(30)
    session.close()
    assert camera.methods[:5] == ["OPTIONS", "DESCRIBE", "DESCRIBE", "SETUP", "PLAY"]
    assert not any("s3cret" in head for head in camera.heads)
    assert not any("Authorization" in head for head in camera.heads[:2])


def test_wrong_credentials_are_tried_once_and_said(scripted: Start) -> None:
    camera = scripted(lambda head: answered(head, "401 Unauthorized", 'WWW-Authenticate: Basic realm="x"\r\n'))
    with pytest.raises(CameraRefused, match=r"^refuses user and password \(401\)$"):
        opened(camera, USER)
    assert camera.methods == ["OPTIONS", "DESCRIBE", "DESCRIBE"]
    with pytest.raises(CameraRefused, match=r"^requires user and password, but none are configured$"):
        opened(camera)


def test_a_redirect_is_followed_without_credentials_for_another_host(scripted: Start) -> None:
    asked = 'WWW-Authenticate: Basic realm="x"\r\n'
    second = scripted(lambda head: answered(head, "401 Unauthorized", asked))
    to = f"Location: rtsp://localhost:{second.port}/moved\r\n"
    first = scripted(lambda head: answered(head, "302 Moved", to) if head[0] == "D" else tidy(head))
    with pytest.raises(CameraRefused, match="none are configured"):
        opened(first, USER)
    assert [head.split(" ")[1] for head in second.heads] == [f"rtsp://localhost:{second.port}/moved"] * 2
    assert not any("Authorization" in head for head in second.heads)


def test_redirects_without_end_end(scripted: Start) -> None:
    camera = scripted()
    to = f"Location: rtsp://127.0.0.1:{camera.port}/again\r\n"
    camera.answer = lambda head: answered(head, "301 Moved", to) if head[0] == "D" else tidy(head)
    with pytest.raises(CameraLost, match="redirects too often"):
        opened(camera)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("404 Not Found", "has no such stream"),
        ("403 Forbidden", "denies access"),
        ("503 Service Unavailable", "is not ready"),
        ("455 Method Not Valid", "answers DESCRIBE with 455 Method Not Valid"),
    ],
)
def test_a_refusal_is_reported_in_words(scripted: Start, status: str, reason: str) -> None:
    camera = scripted(lambda head: answered(head, status))
    with pytest.raises(CameraLost, match=re.escape(reason)):
        opened(camera)


@pytest.mark.parametrize(
    ("sdp", "kind"),
    [
        ("v=0\r\nm=video 0 RTP/AVP 26\r\n", UnsupportedCodec),
        ("v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 MP4V-ES/90000\r\n", UnsupportedCodec),
        ("v=0\r\nm=audio 0 RTP/AVP 0\r\n", CameraLost),
        ("nothing", CameraLost),
    ],
)
def test_a_camera_with_another_codec_is_distinguished_from_one_without_video(
    scripted: Start, sdp: str, kind: type
) -> None:
    camera = scripted(lambda head: answered(head, body=sdp) if head.startswith("DESCRIBE") else tidy(head))
    with pytest.raises(CameraLost) as caught:
        opened(camera)
    assert type(caught.value) is kind


@pytest.mark.parametrize("given", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 3000, b"x" * 200_000])
def test_what_is_no_rtsp_camera_is_given_up(scripted: Start, given: bytes) -> None:
    camera = scripted(lambda head: given)
    began = time.monotonic()
    with pytest.raises(CameraLost):
        opened(camera, timeout=0.5)
    assert time.monotonic() - began < 20


def test_a_camera_that_hangs_up_and_one_that_falls_silent_are_lost(scripted: Start) -> None:
    camera = scripted()
    camera.video = packet(1)
    session = opened(camera)
    assert session.receive(30)
    with pytest.raises(CameraLost, match=r"^sent nothing for 0\.2 s$"):
        session.receive(0.2)
    session.close()
    camera.answer = lambda head: None
    with pytest.raises(CameraLost, match="closed the connection"):
        opened(camera)


def test_a_goodbye_ends_it_at_once(scripted: Start) -> None:
    camera = scripted()
    bye = struct.pack("!BBHI", 0x81, 203, 1, 7)
    camera.video = b"$\1" + len(bye).to_bytes(2, "big") + bye
    session = opened(camera)
    with pytest.raises(CameraLost, match="ended the stream"):
        session.receive(30)
    session.close()


def test_a_session_is_kept_alive_as_often_as_it_needs_and_a_new_nonce_is_answered(scripted: Start) -> None:
    kept: list[str] = []

    def answer(head: str) -> bytes:
        if head.startswith("SETUP"):
            transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
            return answered(head, headers=f"Session: 1;timeout=2\r\nTransport: {transport}\r\n")
        if head.startswith("GET_PARAMETER"):
            kept.append(head)
            if len(kept) == 1:
                asked = 'WWW-Authenticate: Digest realm="x", nonce="new", stale=true\r\n'
                return answered(head, "401 Unauthorized", asked) + packet(len(kept))
            return answered(head) + packet(len(kept))
        return tidy(head)

    camera = scripted(answer)
    camera.video = packet(0)
    session = opened(camera, USER)
    while len(kept) < 2:
        session.receive(30)
        camera_sends(session)
    session.close()
    assert 'nonce="new"' not in kept[0]
    assert 'nonce="new"' in kept[1]


def camera_sends(session: RtspSession) -> None:
    """As if a second had passed without packets, as with a camera of one frame in two seconds."""
    session._kept -= 1.05
    session._do_duties(session._connection)  # type: ignore[arg-type]


def test_tls_is_verified(scripted: Start, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    camera = scripted(tidy, context)
    camera.video = packet(1)
    session = opened(camera, scheme="rtsps", ca=str(certificate))
    assert session.receive(30)
    session.close()
    with pytest.raises(CameraRefused, match=r"certificate that is not trusted"):
        opened(camera, scheme="rtsps", ca="")
    plain = scripted()
    with pytest.raises(CameraLost, match="TLS"):
        opened(plain, scheme="rtsps", ca=str(certificate), timeout=1)
