"""Cameras with a password that another program reads: it is given neither the password nor the camera's address."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.camera.odd_streams import interleaved, packets
from edge.camera.recorded_health import RunningCamera
from edge.camera.relays import ASKED_BASIC, USER, asked_of, fetched, guarded, http_guarded, stream_of
from edge.camera.scripted_camera import SDP, ScriptedCamera, answered, sequence, tidy
from emflow_edge.camera import gstreamer, registry
from emflow_edge.camera.http_relay import HttpRelay
from emflow_edge.camera.rtsp_relay import RtspRelay, put_in_place
from emflow_edge.rtsp.client import RtspSession
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_schema.edge_config import Stream
from emflow_schema.stream_url import split
from support import until

Start = Callable[..., ScriptedCamera]
ASKED_DIGEST = 'WWW-Authenticate: Digest realm="x", nonce="n", qop="auth"\r\n'
# Whatever shows that user or password came, in any form that a program sends.
SECRETS = re.compile(r"authorization|admin|s3cret|word", re.IGNORECASE)


def play(client: socket.socket) -> None:
    """H.264 at 20 pictures a second, for as long as the connection lasts; requests are answered beside it."""
    pictures = [b"".join(map(interleaved, picture)) for picture in packets("H264")]

    def send() -> None:
        with contextlib.suppress(OSError):
            for picture in itertools.cycle(pictures):
                client.sendall(picture)
                time.sleep(0.05)

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.parametrize("asked", [ASKED_BASIC, ASKED_DIGEST], ids=["basic", "digest"])
def test_ten_frames_come_through_opencv_that_knows_no_password(scripted: Start, asked: str) -> None:
    camera = scripted(guarded(asked))
    camera.play = play
    url = f"rtsp://127.0.0.1:{camera.port}/live"
    with RunningCamera(url, lambda _: USER, backend="opencv", credentials=_Secret()) as running:
        for _ in range(10):
            assert running.next().image.shape == (240, 320, 3)
    assert not any("Lavf" in head for head in camera.heads), "FFmpeg does not ask the camera itself"
    until(lambda: "TEARDOWN" in camera.methods)


class _Secret:
    secret = "front"


@pytest.mark.parametrize("method", ["DESCRIBE", "SETUP", "PLAY"])
@pytest.mark.parametrize("asked", [ASKED_BASIC, ASKED_DIGEST], ids=["basic", "digest"])
def test_a_camera_that_redirects_later_gives_its_password_to_nobody(scripted: Start, asked: str, method: str) -> None:
    other = scripted(lambda head: answered(head, "401 Unauthorized", asked))
    seen: list[str] = []

    def answer(head: str) -> bytes | None:
        if head.startswith(method):
            seen.append(head)
            if len(seen) > (method == "DESCRIBE"):
                return answered(head, "302 Moved", f"Location: rtsp://127.0.0.1:{other.port}/live\r\n")
        # Without video, FFmpeg opens the camera again.
        return None if head.startswith("PLAY") else tidy(head)

    camera = scripted(guarded(asked, answer))
    with pytest.raises(CameraLost):
        registry.open_camera(stream_of(camera, backend="opencv"), USER, threading.Event())
    with pytest.raises(CameraLost):
        registry.open_camera(stream_of(camera, backend="opencv"), USER, threading.Event())
    assert len(seen) > 1
    assert not any(SECRETS.search(head) for head in other.heads)


def test_a_redirect_of_what_is_not_a_description_is_the_reason_that_is_told(scripted: Start) -> None:
    other = scripted()
    moved = f"Location: rtsp://127.0.0.1:{other.port}/live\r\n"
    camera = scripted(
        guarded(answer=lambda head: answered(head, "302 Moved", moved) if head.startswith("SETUP") else tidy(head))
    )
    with pytest.raises(CameraLost, match=r"^redirects SETUP, which is not followed$"):
        registry.open_camera(stream_of(camera, backend="opencv"), USER, threading.Event())
    assert other.heads == []


def test_no_program_is_given_user_or_password(scripted: Start, relayed: Callable[..., RtspRelay]) -> None:
    camera = scripted(guarded())
    relay = relayed(camera, pipeline="imx8mp")
    text = gstreamer.text(stream_of(camera, pipeline="imx8mp"), relay)
    assert f"location={relay.url} protocols=tcp" in text
    assert not SECRETS.search(text)
    assert re.fullmatch(r"rtsp://127\.0\.0\.1:\d+/[\w-]{32}", relay.url)


@pytest.mark.parametrize("path", ["", "/", "/live?channel=1", "/{}x", "/{}/../", "/x{}", "*"])
def test_who_does_not_know_the_path_gets_no_answer(
    scripted: Start, relayed: Callable[..., RtspRelay], path: str
) -> None:
    camera = scripted(guarded())
    relay = relayed(camera)
    before = len(camera.heads)
    base, _, secret = relay.url.rpartition("/")
    wrong = path.format(secret[:-1] if "x" in path[-1:] else secret)
    target = wrong if path == "*" else f"{base}{wrong}"
    if path == "/{}/../":
        # Below the path, but nothing that is there.
        assert asked_of(relay, f"SETUP {target}") == "RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n"
    else:
        assert asked_of(relay, f"DESCRIBE {target}") == ""
    assert len(camera.heads) == before


def test_only_loopback_is_listened_on_and_only_while_the_camera_is_open(
    scripted: Start, relayed: Callable[..., RtspRelay]
) -> None:
    relay = relayed(scripted(guarded()))
    place = split(relay.url)
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert f"0100007F:{place.port:04X}" in listening
    relay.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((place.host, place.port), timeout=5).close()


def test_our_own_client_reads_a_camera_through_the_relay(scripted: Start, relayed: Callable[..., RtspRelay]) -> None:
    camera = scripted(guarded(ASKED_DIGEST))
    camera.play = play
    relay = relayed(camera)
    for _ in range(2):
        session = RtspSession(split(relay.url), False, ("", ""), None, 10.0, threading.Event())
        assert session.receive(10)
        session.close()
    until(lambda: camera.methods.count("TEARDOWN") == 2)
    url = f"rtsp://127.0.0.1:{camera.port}/live?channel=1"
    assert {head.split(" ")[1] for head in camera.heads} == {url, f"{url}/track1"}


def test_a_wrong_password_is_refused_before_the_program_runs(scripted: Start) -> None:
    camera = scripted(lambda head: answered(head, "401 Unauthorized", ASKED_BASIC))
    with pytest.raises(CameraRefused, match=r"^refuses user and password \(401\)$"):
        registry.open_camera(stream_of(camera, backend="opencv"), USER, threading.Event())


def test_a_new_nonce_in_the_middle_is_answered_by_the_relay(scripted: Start, relayed: Callable[..., RtspRelay]) -> None:
    fresh = ASKED_DIGEST.replace('nonce="n"', 'nonce="new"')

    def answer(head: str) -> bytes:
        if head.startswith("PLAY") and 'nonce="new"' not in head:
            return answered(head, "401 Unauthorized", fresh)
        return tidy(head)

    camera = scripted(guarded(ASKED_DIGEST, answer))
    relay = relayed(camera)
    said = asked_of(relay, f"DESCRIBE {relay.url}", f"SETUP {relay.url}/1", f"PLAY {relay.url}/")
    assert re.findall(r"RTSP/1\.0 (\d+)", said) == ["200", "200", "200"]
    assert not SECRETS.search(said)


def test_a_certificate_is_verified_by_the_relay(scripted: Start, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    camera = scripted(guarded(), context)
    camera.play = play
    url = f"rtsps://127.0.0.1:{camera.port}/live"
    for credentials in (USER, ("", "")):
        with pytest.raises(CameraRefused, match="certificate that is not trusted"):
            registry.open_camera(Stream("front", url, backend="opencv"), credentials, threading.Event())
    stream = Stream("front", url, backend="opencv", ca=str(certificate))
    opened = registry.open_camera(stream, USER, threading.Event())
    for _ in range(3):
        opened.grab()
    opened.close()


def test_udp_packets_come_from_the_camera_itself(scripted: Start, relayed: Callable[..., RtspRelay]) -> None:
    def answer(head: str) -> bytes:
        if head.startswith("SETUP"):
            transport = "RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001"
            return answered(head, headers=f"Session: 1;timeout=60\r\nTransport: {transport}\r\n")
        return tidy(head)

    camera = scripted(guarded(answer=answer))
    said = asked_of(relay := relayed(camera, transport="udp"), f"SETUP {relay.url}/1")
    assert "server_port=6000-6001;source=127.0.0.1\r\n" in said


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_camera_with_an_ipv6_address_is_read_over_tcp_and_that_is_logged(scripted: Start) -> None:
    camera = scripted(guarded(), host="::1")
    camera.play = play
    notices: list[str] = []
    stream = Stream("front", f"rtsp://[::1]:{camera.port}/live", transport="udp", backend="opencv")
    opened = registry.open_camera(stream, USER, threading.Event(), notices.append)
    opened.grab()
    opened.close()
    assert notices == ["is at an IPv6 address; with user and password, GStreamer and OpenCV read it over TCP"]
    assert any("RTP/AVP/TCP" in head for head in camera.heads)


def test_a_proxy_in_the_environment_gets_nothing(scripted: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, camera = scripted(), scripted(guarded())
    camera.play = play
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    opened = registry.open_camera(stream_of(camera, backend="opencv"), USER, threading.Event())
    opened.grab()
    opened.close()
    assert proxy.heads == []


SECTIONS = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\na=control:{}\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=control:{}\r\nm=audio 0 RTP/AVP 0\r\n"
)


@pytest.mark.parametrize(
    ("session", "track", "whole", "video"),
    [
        ("*", "track1", "rtsp://camera/live/", "rtsp://camera/live/track1"),
        ("rtsp://camera/all", "/track1", "rtsp://camera/all", "rtsp://camera/live/track1"),
        ("", "rtsp://other/track1", "rtsp://camera/live/", "rtsp://other/track1"),
    ],
)
def test_addresses_in_a_description_are_the_relays(session: str, track: str, whole: str, video: str) -> None:
    here = "rtsp://127.0.0.1:1/secret"
    text, controls = put_in_place(SECTIONS.format(session, track).encode(), "rtsp://camera/live/", here)
    assert controls == {here: whole, f"{here}/1": video, f"{here}/2": "rtsp://camera/live/"}
    assert re.findall(r"(?m)^a=control:(.*)\r$", text.decode()) == [f"{here}/1", f"{here}/2"]
    assert b"camera" not in text
    assert b"a=rtpmap:96 H264/90000\r\n" in text


def test_an_http_camera_is_read_through_a_relay_by_a_pipeline(
    scripted: Start, http_relayed: Callable[..., HttpRelay]
) -> None:
    body = bytes(range(256)) * 1000
    begun = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\nContent-Length: 256000\r\n\r\n"
    camera = scripted(lambda head: http_guarded(head, begun + body))
    relay = http_relayed(camera)
    assert not SECRETS.search(relay.url)
    assert relay.url.endswith("/mjpeg?fps=5")
    assert fetched(relay.url) == (200, body)
    assert camera.heads[-1].startswith("GET /mjpeg?fps=5 HTTP/1.0\r\n")


def test_an_http_redirect_is_followed_by_the_relay_without_the_password(
    scripted: Start, http_relayed: Callable[..., HttpRelay]
) -> None:
    other = scripted(lambda head: b"HTTP/1.0 401 No\r\nWWW-Authenticate: Basic\r\n\r\n")
    moved = f"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:{other.port}/mjpeg\r\n\r\n".encode()
    relay = http_relayed(scripted(lambda head: http_guarded(head, moved)))
    assert fetched(relay.url) == (502, b"")
    assert len(other.heads) == 1
    assert not any(SECRETS.search(head) for head in other.heads)
    assert isinstance(relay.problem, CameraRefused)


def test_who_does_not_know_the_path_reads_no_http_camera(
    scripted: Start, http_relayed: Callable[..., HttpRelay]
) -> None:
    camera = scripted(lambda head: http_guarded(head, b"HTTP/1.0 200 OK\r\n\r\nx"))
    relay = http_relayed(camera)
    host = relay.url.split("/")[2]
    for path in ("", "mjpeg?fps=5", "/mjpeg"):
        with pytest.raises((OSError, urllib.error.URLError)):
            fetched(f"http://{host}/{path}")
    assert camera.heads == []


def test_a_camera_that_breaks_lines_adds_no_header_to_an_answer(
    scripted: Start, relayed: Callable[..., RtspRelay]
) -> None:
    camera = scripted(
        guarded(
            answer=lambda head: (
                f"RTSP/1.0 200 OK\r\nCSeq: {sequence(head)}\r\nSession: 1\rX: y\r\n\r\n".encode()
                if head.startswith("SETUP")
                else answered(head, headers="Content-Type: application/sdp\r\n", body=SDP)
            )
        )
    )
    relay = relayed(camera)
    said = asked_of(relay, f"SETUP {relay.url}/1")
    assert "Session: 1 X: y\r\n" in said
    assert "\r" not in said.replace("\r\n", "")
