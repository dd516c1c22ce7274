"""HTTP cameras, each as sloppy as some are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from edge.camera.scripted_camera import ScriptedCamera
from emflow_edge.camera.mjpeg import MjpegCamera, MultipartParser
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_schema.edge_config import Stream
from emflow_schema.units import DeviceDuration

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


def test_bytes_without_a_boundary_are_not_kept_for_ever() -> None:
    parts, buffer = MultipartParser("frame"), bytearray(b"x" * 70_000)
    with pytest.raises(ValueError, match="no boundary"):
        parts.read(buffer, 0.0)
