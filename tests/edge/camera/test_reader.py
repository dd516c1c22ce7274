"""The source against cameras that are away, refuse it, or are none."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge.camera.recorded_health import RunningCamera
from edge.camera.scripted_camera import ScriptedCamera, answered, tidy
from emflow_edge.camera import registry
from emflow_edge.rtsp.buffered_socket import connect
from emflow_edge.rtsp.errors import CameraLost
from emflow_schema.edge_config import Secret, Stream
from emflow_schema.errors import EdgeProblem
from emflow_schema.units import DeviceDuration
from support import until

if TYPE_CHECKING:
    from edge.conftest import Edge


def why_absent(host: str, port: int) -> str:
    with pytest.raises(CameraLost) as caught:
        connect(host, port, 1.0, threading.Event())
    return str(caught.value)


def test_why_a_camera_is_absent_is_reported(absent_port: int) -> None:
    assert why_absent("127.0.0.1", absent_port) == "cannot be reached (Connection refused)"
    assert why_absent("camera.invalid", 554).startswith("cannot be reached (")
    assert why_absent("cam..local", 554) == "cannot be reached (invalid host name)"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where something listens that never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_camera_that_never_answers_is_waited_for_and_does_not_hold_up_others(
    silent_port: int, edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    _, url = edge.camera("--dwell", "1")
    silent_url = f"rtsp://admin:secret@127.0.0.1:{silent_port}/1"
    with RunningCamera(silent_url, open_timeout=DeviceDuration("60s")) as silent, RunningCamera(url) as other:
        other.next()
        assert silent.heard.told == []
    with RunningCamera(silent_url, open_timeout=DeviceDuration("0.5s")):
        until(lambda: "does not answer" in caplog.text, what="a word about it")
    assert "secret" not in caplog.text


def test_an_absent_camera_is_asked_again_and_again_and_costs_next_to_nothing(
    absent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_camera, asked = registry.open_camera, Counter[str]()

    def open_and_count(stream: Stream, *args: Any, **options: Any) -> Any:
        asked[stream.name] += 1
        return open_camera(stream, *args, **options)

    monkeypatch.setattr(registry, "open_camera", open_and_count)
    used = time.process_time()
    with RunningCamera(f"rtsp://127.0.0.1:{absent_port}/1") as watched:
        until(lambda: watched.heard.told == ["absent: cannot be reached (Connection refused)"])
        until(lambda: asked["front"] > 5, what="several attempts")
    assert time.process_time() - used < 0.5


def test_wrong_credentials_are_not_tried_again_at_once(
    scripted: Callable[..., ScriptedCamera], caplog: pytest.LogCaptureFixture
) -> None:
    camera = scripted(lambda head: answered(head, "401 Unauthorized", 'WWW-Authenticate: Basic realm="x"\r\n'))
    with RunningCamera(f"rtsp://admin:s3cret@127.0.0.1:{camera.port}/live") as watched:
        until(lambda: camera.methods.count("DESCRIBE") >= 4, what="a second try")
        assert watched.heard.told == ["absent: refuses user and password (401)"]
    assert "s3cret" not in caplog.text
    assert camera.methods.count("DESCRIBE") < 12


def test_a_secret_is_read_again_after_its_password_was_refused(
    scripted: Callable[..., ScriptedCamera],
) -> None:
    camera = scripted(lambda head: answered(head, "401 Unauthorized", 'WWW-Authenticate: Basic realm="x"\r\n'))
    asked: list[str] = []

    def provider(secret: str) -> tuple[str, str]:
        asked.append(secret)
        return "admin", "s3cret"

    with RunningCamera(f"rtsp://127.0.0.1:{camera.port}/live", provider, credentials=Secret("arn:x")):
        until(lambda: len(asked) >= 2, what="the secret read again")
    assert set(asked) == {"arn:x"}
    assert "Authorization: Basic YWRtaW46czNjcmV0" in camera.heads[2]


def test_a_secret_that_cannot_be_had_is_reported(absent_port: int) -> None:
    def provider(secret: str) -> tuple[str, str]:
        raise EdgeProblem("no such secret")

    url = f"rtsp://127.0.0.1:{absent_port}/live"
    with RunningCamera(url, provider, credentials=Secret("x")) as watched:
        until(lambda: watched.heard.told == ["absent: is not opened: its secret cannot be read (no such secret)"])
    with RunningCamera(url, credentials=Secret("x")) as watched:
        until(lambda: "which needs Greengrass or --secrets" in str(watched.heard.told))


def test_a_camera_that_hangs_up_again_and_again_leaves_nothing_behind(scripted: Callable[..., ScriptedCamera]) -> None:
    camera = scripted(lambda head: None if head.startswith("PLAY") else tidy(head))
    with RunningCamera(f"rtsp://127.0.0.1:{camera.port}/live"):
        until(lambda: camera.methods.count("PLAY") >= 2)
        before = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
        until(lambda: camera.methods.count("PLAY") >= 12, what="ten more tries")
        # What is under way at the moment are two sockets and the thread of the camera's side.
        after = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    assert after[0] <= before[0] + 3
    assert after[1] <= before[1] + 2


def test_a_camera_of_another_codec_is_tried_again_after_a_while(
    scripted: Callable[..., ScriptedCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emflow_edge.camera.reader._OTHER_CODEC", 0.3)
    sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 MP4V-ES/90000\r\n"

    def answer(head: str) -> bytes:
        described = answered(head, headers="Content-Type: application/sdp\r\n", body=sdp)
        return described if head.startswith("DESCRIBE") else tidy(head)

    camera = scripted(answer)

    def asked(by_opencv: bool) -> int:
        heads = list(camera.heads)
        return sum(head.startswith("DESCRIBE") and ("Lavf" in head) == by_opencv for head in heads)

    with RunningCamera(
        f"rtsp://127.0.0.1:{camera.port}/live", open_timeout=DeviceDuration("1s"), read_timeout=DeviceDuration("0.5s")
    ):
        until(lambda: asked(by_opencv=True) and asked(by_opencv=False) >= 2, what="ours again after OpenCV's")


def test_lines_about_a_camera_name_their_stream(absent_port: int, caplog: pytest.LogCaptureFixture) -> None:
    with RunningCamera(f"rtsp://127.0.0.1:{absent_port}/1"):
        until(lambda: caplog.records, what="a word about it")
    assert {vars(record)["stream"] for record in caplog.records} == {"front"}
