"""HTTP cameras, each as sloppy as some are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from edge.camera.recorded_health import RunningCamera
from edge.camera.scripted_camera import ScriptedCamera
from emflow_edge.camera.mjpeg import MjpegCamera
from emflow_edge.camera.multipart import MultipartParser
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_schema.edge_config import Stream
from emflow_schema.units import DeviceDuration
from support import until

Start = Callable[..., ScriptedCamera]


def jpeg(level: int) -> bytes:
    return cv2.imencode(".jpg", np.full((48, 64, 3), level, np.uint8))[1].tobytes()


def part(data: bytes, headers: str = "", boundary: str = "--frame") -> bytes:
    return f"{boundary}\r\nContent-Type: image/jpeg\r\n{headers}\r\n".encode() + data + b"\r\n"


def begun(*parts: bytes, kind: str = "multipart/x-mixed-replace;boundary=frame") -> bytes:
    return f"HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode() + b"".join(parts)


def opened(camera: ScriptedCamera, credentials: tuple[str, str] = ("", ""), path: str = "/mjpeg") -> MjpegCamera:
    stream = Stream(
        "front",
        f"http://127.0.0.1:{camera.port}{path}",
        open_timeout=DeviceDuration("2s"),
        read_timeout=DeviceDuration("0.5s"),
    )
    return MjpegCamera(stream, credentials, threading.Event())


def levels(capture: MjpegCamera, count: int) -> list[int]:
    found = []
    for _ in range(count):
        capture.grab()
        found += [round(float(picture.image().mean())) for _, picture in capture.decode(alone=True)]
    return found


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("boundary", ["frame", "--frame", '"frame"'])
def test_pictures_come_with_and_without_their_lengths(scripted: Start, length: bool, boundary: str) -> None:
    data = [jpeg(40), jpeg(120), jpeg(200)]
    parts = [part(one, f"Content-Length: {len(one)}\r\n" if length else "") for one in data]
    camera = scripted(lambda head: begun(*parts, b"--frame", kind=f"multipart/x-mixed-replace; boundary={boundary}"))
    capture = opened(camera)
    assert levels(capture, 3) == [40, 120, 200]
    with pytest.raises(CameraLost, match=r"sent no complete picture for 0\.5 s"):
        capture.grab()
    capture.close()
    assert camera.heads[0].startswith("GET /mjpeg HTTP/1.0\r\n")


def test_of_several_pictures_all_but_the_newest_are_marked_old(scripted: Start) -> None:
    parts = [part(one, f"Content-Length: {len(one)}\r\n") for one in (jpeg(40), jpeg(120))]
    capture = opened(scripted(lambda head: begun(*parts)))
    assert [capture.grab().superseded, capture.grab().superseded] == [True, False]
    capture.close()


def test_the_cameras_own_time_is_believed_when_it_can_be(scripted: Start) -> None:
    now = time.time()
    told = [now - 0.5, now - 1000, now + 1000]
    data = jpeg(90)
    parts = [part(data, f"Content-Length: {len(data)}\r\nX-Timestamp: {one:.3f}\r\n") for one in told]
    capture = opened(scripted(lambda head: begun(*parts)))
    assert capture.grab().captured_at == pytest.approx(told[0], abs=0.01)
    assert abs(capture.grab().captured_at - now) < 2
    assert abs(capture.grab().captured_at - now) < 2
    capture.close()


def test_a_broken_picture_is_left_out(scripted: Start) -> None:
    data = [jpeg(40)[:60], b"<html>", jpeg(200)]
    capture = opened(scripted(lambda head: begun(*(part(one, f"Content-Length: {len(one)}\r\n") for one in data))))
    assert levels(capture, 2)[-1] == 200
    capture.close()


def test_user_and_password_are_given_when_they_are_asked_for(scripted: Start) -> None:
    def answer(head: str) -> bytes:
        if "Authorization: Digest" in head and 'uri="/mjpeg?size=2"' in head:
            return begun(part(jpeg(40)), b"--frame")
        return b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="x", nonce="n", qop="auth"\r\n\r\n'

    camera = scripted(answer)
    capture = opened(camera, ("admin", "s3cret"), "/mjpeg?size=2")
    assert levels(capture, 1) == [40]
    capture.close()
    camera.answer = lambda head: b"HTTP/1.0 401 No\r\nWWW-Authenticate: Basic\r\n\r\n"
    with pytest.raises(CameraRefused, match="refuses user and password"):
        opened(camera, ("admin", "wrong"))
    with pytest.raises(CameraRefused, match="none are configured"):
        opened(camera)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "answers with 404 Not Found"),
        (b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "does not send an MJPEG stream"),
        (b"HTTP/1.0 302 Found\r\nLocation: /mjpeg\r\n\r\n", "redirects too often"),
        (b"HTTP/1.0 302 Found\r\nLocation: ftp://x/\r\n\r\n", "redirects to an invalid URL"),
        (b"RTSP/1.0 200\r\n" + b"x" * 100_000, "is it an HTTP camera"),
    ],
)
def test_what_is_no_such_camera_is_reported(scripted: Start, given: bytes, reason: str) -> None:
    with pytest.raises(CameraLost, match=reason):
        opened(scripted(lambda head: given))


def noise(number: int) -> bytes:
    """A picture of some 200 KB."""
    chance = np.random.default_rng(number)
    return cv2.imencode(".jpg", chance.integers(0, 255, (480, 640, 3), np.uint8))[1].tobytes()


def preview(data: bytes) -> bytes:
    """A picture with a smaller one in its head, as cameras for people make them."""
    small = jpeg(70)
    return data[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + data[2:]


def multipart(pictures: list[bytes], odd: str) -> tuple[str, bytes]:
    """The boundary that is named, and a stream in which something is otherwise."""
    typed = b"Content-Type: image/jpeg\r\n"
    named, between, after, shift = "frame", b"--frame\r\n", b"\r\n", 0
    if odd in ("length too small", "length too large", "length counts the line's end", "length far too small"):
        shift = {"small": -1000, "large": 5000, "end": 2}[odd.split()[-1]]
    shift = -100_000 if odd == "length far too small" else shift
    if odd == "another boundary":
        between = b"--other\r\n"
    elif odd == "no boundary named":
        named = ""
    elif odd == "no boundaries":
        between = after = typed = b""
    elif odd == "boundary without dashes":
        between = b"frame\r\n"
    elif odd == "boundary with more dashes":
        named, between = "--frame", b"----frame\r\n"
    elif odd == "boundary in single quotes":
        named = "'frame'"
    elif odd == "boundary that is a word of the headers":
        named, between = "image", b"--image\r\n"
    elif odd == "bare line feeds":
        between, after = b"--frame\n", b"\n"
    elif odd == "nothing behind the picture":
        after = b""
    stream = []
    for data in pictures:
        head = typed + b"Content-Length: %d\r\n\r\n" % max(1, len(data) + shift)
        if odd in ("no headers", "no boundaries"):
            head = b"" if odd == "no boundaries" else b"\r\n"
        elif odd == "no empty line":
            head = typed
        elif odd == "no headers and no empty line":
            head = b""
        elif odd == "two empty lines":
            head += b"\r\n"
        elif odd == "no length" or odd == "nothing behind the picture":
            head = typed + b"\r\n"
        elif odd == "bare line feeds":
            head = head.replace(b"\r\n", b"\n")
        if odd == "boundary behind each picture":
            stream.append(head + data + b"\r\n--frame\r\n")
        else:
            stream.append(between + head + data + after)
    return named, b"".join(stream)


ODD = (
    *("boundary behind each picture", "another boundary", "no boundary named", "no boundaries"),
    *("boundary without dashes", "boundary with more dashes", "boundary in single quotes"),
    *("boundary that is a word of the headers", "bare line feeds", "nothing behind the picture", "no length"),
    *("length too small", "length far too small", "length too large", "length counts the line's end"),
    *("no headers", "no empty line", "no headers and no empty line", "two empty lines"),
)


@pytest.mark.parametrize("size", [1, 1448, 1 << 18])
@pytest.mark.parametrize("odd", ODD)
def test_pictures_come_however_they_are_separated(odd: str, size: int) -> None:
    small = [preview(jpeg(40)), jpeg(80), preview(jpeg(120)), jpeg(160)]
    pictures = small if size == 1 else [noise(1), preview(noise(2)), noise(3), jpeg(40)]
    named, stream = multipart(pictures, odd)
    parser, buffer, found = MultipartParser(named), bytearray(), []
    for at in range(0, len(stream), size):
        buffer += stream[at : at + size]
        parser.read(buffer, 0.0)
        while parser.complete:
            found.append(parser.complete.popleft().data.rstrip(b"\r\n"))
    assert found == pictures


def test_a_picture_is_there_with_its_last_byte_however_it_is_found() -> None:
    for odd in ODD:
        named, stream = multipart([jpeg(40), jpeg(200)], odd)
        parser, buffer = MultipartParser(named), bytearray()
        came = []
        for at, byte in enumerate(stream, 1):
            buffer.append(byte)
            parser.read(buffer, 0.0)
            came += [at] * len(parser.complete)
            parser.complete.clear()
        late = 2 if odd == "length counts the line's end" else 0
        # The first one may wait for what shows that its length is wrong.
        assert (len(came), came[1]) == (2, stream.rfind(b"\xff\xd9") + 2 + late), odd


@pytest.mark.parametrize(
    ("odd", "notice"),
    [
        ("boundary behind each picture", "sends pictures without a boundary before them"),
        ("length far too small", "sends pictures with a wrong Content-Length"),
    ],
)
def test_a_stream_that_is_otherwise_is_shown_and_said_once(
    scripted: Start, odd: str, notice: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, stream = multipart([noise(number) for number in range(3)] * 3, odd)
    camera = scripted(lambda head: begun(stream))
    with RunningCamera(f"http://127.0.0.1:{camera.port}/mjpeg") as source:
        assert source.next().image.shape == (480, 640, 3)
        until(lambda: source.counters.snapshot()["captured"] >= 8)
    assert caplog.text.count(notice) == 1


@pytest.mark.parametrize("kind", ["", "Content-Type: multipart/x-mixed-replace\r\n", "Content-Type: video/x-mjpeg\r\n"])
def test_a_stream_whose_type_names_no_boundary_is_read(scripted: Start, kind: str) -> None:
    head = f"HTTP/1.0 200 OK\r\n{kind}\r\n".encode()
    capture = opened(scripted(lambda _: head + part(jpeg(40)) + part(jpeg(120))))
    assert levels(capture, 2) == [40, 120]
    capture.close()


@pytest.mark.parametrize("size", [7, 100_000])
def test_pictures_in_chunks_are_read(scripted: Start, size: int) -> None:
    stream = part(jpeg(40)) + part(jpeg(120)) + b"--frame"
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    body = b"".join(b"%x;more=1\r\n" % len(one) + one + b"\r\n" for one in chunks)
    kind = "multipart/x-mixed-replace;boundary=frame\r\nTransfer-Encoding: chunked"
    capture = opened(scripted(lambda _: begun(body, kind=kind)))
    assert levels(capture, 2) == [40, 120]
    capture.close()
    ended = opened(scripted(lambda _: begun(b"0\r\n\r\n", kind=kind)))
    with pytest.raises(CameraLost, match="sends no more pictures"):
        ended.grab()
    ended.close()
    plain = opened(scripted(lambda _: begun(part(jpeg(40)), b"--frame", kind=kind)))
    assert levels(plain, 1) == [40]
    plain.close()


@pytest.mark.parametrize(
    "endless", [b"--frame\r\nX: y\r\n\r\n", b"\r\n", b"--frame\r\nContent-Length: 9999999\r\n\r\n"]
)
def test_a_camera_that_never_pauses_is_lost_when_no_picture_comes(scripted: Start, endless: bytes) -> None:
    camera = scripted(lambda head: begun(part(jpeg(40))))
    camera.endless = endless
    capture = opened(camera)
    capture.grab()
    began = time.monotonic()
    with pytest.raises(CameraLost, match=r"^sent no complete picture for 0\.5 s, but \d+ bytes"):
        capture.grab()
    assert time.monotonic() - began < 20
    capture.close()


def test_a_head_without_an_end_is_not_waited_for_longer_than_opening_takes(scripted: Start) -> None:
    camera = scripted(lambda head: b"HTTP/1.0 200 OK\r\n")
    camera.endless = b"X: y\r\n"
    began = time.monotonic()
    with pytest.raises(CameraLost, match="does not answer"):
        opened(camera)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_credentials_do_not_follow_a_redirect_to_another_origin(scripted: Start, host: str) -> None:
    second = scripted(lambda head: b"HTTP/1.0 401 No\r\nWWW-Authenticate: Basic\r\n\r\n")
    to = f"http://{host}:{second.port}/moved"
    first = scripted(lambda head: f"HTTP/1.0 302 Found\r\nLocation: {to}\r\n\r\n".encode())
    with pytest.raises(CameraRefused, match=rf"^redirects to http://{host}:{second.port}, which requires user"):
        opened(first, ("admin", "s3cret"))
    assert not any("Authorization" in head for head in second.heads)
    second.answer = lambda head: begun(part(jpeg(40)), b"--frame")
    capture = opened(first, ("admin", "s3cret"))
    assert levels(capture, 1) == [40]
    capture.close()


@pytest.mark.parametrize("status", [505, 426])
def test_a_camera_that_refuses_the_old_protocol_is_asked_by_the_new_one(scripted: Start, status: int) -> None:
    refusal = f"HTTP/1.1 {status} No\r\n\r\n".encode()
    camera = scripted(lambda head: begun(part(jpeg(40)), b"--frame") if "HTTP/1.1" in head else refusal)
    capture = opened(camera)
    assert levels(capture, 1) == [40]
    capture.close()
    always = scripted(lambda head: refusal)
    with pytest.raises(CameraLost, match=f"answers with {status} No"):
        opened(always)
    assert len(always.heads) == 2


def test_a_proxy_gets_no_credentials(scripted: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = b"HTTP/1.0 407 Proxy\r\nProxy-Authenticate: Basic\r\nWWW-Authenticate: Basic\r\n\r\n"
    proxy, camera = scripted(lambda head: asked), scripted(lambda head: asked)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(CameraLost, match="answers with 407 Proxy"):
        opened(camera, ("admin", "s3cret"))
    assert proxy.heads == []
    assert not any("uthorization" in head for head in camera.heads)


def test_bytes_without_a_boundary_are_not_kept_for_ever() -> None:
    parts, buffer = MultipartParser("frame"), bytearray(b"x" * 70_000)
    with pytest.raises(ValueError, match="no boundary"):
        parts.read(buffer, 0.0)


@pytest.mark.parametrize(
    "repeated",
    [
        *(b"\xff\xd8", b"\xff\xd8\xff\x00", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xda\0\2", b"\xff\xe0\0\4\xff\xd8"),
        *(
            b"\xff\xd8\xff\xe0\0\2\xff\xd9",
            b"\n",
            b"\n\xff\xd8",
            b"--frame",
            b"--frame\n\n",
            b"--frame\n\n\xff\xd8\xff\xd9",
        ),
        *(b"--frame\r\nContent-Length: 5\r\n\r\n", b"--frame\nContent-Length: 4\n\n\xff\xd8\xff\xd9"),
    ],
)
@pytest.mark.parametrize("end", [b"", b"--frame\n"])
def test_reading_takes_time_that_grows_only_with_what_came(repeated: bytes, end: bytes) -> None:
    def seconds(size: int) -> float:
        parts, buffer = MultipartParser("frame"), bytearray(part(jpeg(40)) + b"--frame\n\n\xff\xd8")
        parts.read(buffer, 0.0)
        buffer += repeated * (size // len(repeated)) + end
        began = time.thread_time()
        parts.read(buffer, 0.0)
        return time.thread_time() - began

    little = max(1e-4, min(seconds(1 << 13) for _ in range(3)))
    # Sixteen times as much; with the square of it, it would be 256 times as long.
    assert min(seconds(1 << 17) for _ in range(2)) < 16 * 6 * little


def test_beginning_and_end_alone_are_no_picture() -> None:
    nothing = b"\xff\xd8\xff\xd9"
    for sent in (nothing, part(nothing), part(nothing, "Content-Length: 4\r\n")):
        parts = MultipartParser("frame")
        parts.read(bytearray(sent * 3 + part(jpeg(40)) + b"--frame\r\n"), 0.0)
        assert [one.data for one in parts.complete] == [jpeg(40)]


@pytest.mark.parametrize("size", [1, 7, 1460, 1 << 20])
def test_what_only_begins_like_a_picture_hides_none(size: int) -> None:
    whole = jpeg(40)
    sent = (
        b"\xff\xd8\xff\x00"
        + whole
        + b"\xff\xd8" * 9
        + whole
        + whole[: len(whole) // 2]
        + whole
        + b"\xff\xd8\xff\xd9"
        + whole
    )
    for boundary in ("", "frame"):
        parts, buffer = MultipartParser(boundary), bytearray()
        for begin in range(0, len(sent), size):
            buffer += sent[begin : begin + size]
            parts.read(buffer, 0.0)
        assert [one.data for one in parts.complete].count(whole) == 4
