"""The source in front of a camera that is not ours: GStreamer's RTSP server, well and unwell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emflow_edge.camera import gstreamer
from emflow_edge.camera.frame import Frame
from emflow_edge.camera.reader import CameraReader
from emflow_edge.metrics.counters import Counters
from emflow_schema.edge_config import Stream
from emflow_schema.units import DeviceDuration, Interval
from support import PATIENCE, Process, until

pytestmark = pytest.mark.peer

Serve = Callable[..., "tuple[Process, str]"]
USER = "viewer:s3cret%20word"


class Told:
    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []
        self.reasons: list[str] = []

    def present(self, width: int, height: int, fps: float) -> None:
        self.sizes.append((width, height))

    def absent(self, reason: str) -> None:
        self.reasons.append(reason)

    def frozen(self) -> None: ...

    def black(self) -> None: ...

    def clear(self) -> None: ...


class RunningCamera(CameraReader):
    def __init__(self, url: str, **settings: Any) -> None:
        self.counters, self.stop, self.told = Counters(), threading.Event(), Told()
        super().__init__(
            Stream("peer", url, **{"every": Interval("0s"), **settings}), self.counters, self.stop, self.told
        )

    def __enter__(self) -> RunningCamera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        assert self.join(PATIENCE)

    def next(self, timeout: float = PATIENCE) -> Frame:
        return self.frames.take(timeout)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(
    "options",
    [[], ["--codec", "h265"], ["--slices", "300"], ["--codec", "jpeg"]],
    ids=["h264", "h265", "many slices", "jpeg"],
)
def test_its_frames_come(gstreamer_camera: Serve, transport: str, options: list[str]) -> None:
    _, url = gstreamer_camera(*options)
    with RunningCamera(url, transport=transport) as camera:
        numbers = []
        for _ in range(20):
            frame = camera.next()
            assert frame.image.shape == (240, 320, 3)
            assert frame.image.max() > 200  # a white ball
            assert abs(time.time() - frame.captured_at) < 10
            numbers.append(frame.number)
    assert numbers[-1] - numbers[0] < 100  # a busy machine may leave some out
    assert camera.told.reasons == []


@pytest.mark.parametrize("auth", ["basic", "digest"])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_it_wants_user_and_password(gstreamer_camera: Serve, auth: str, transport: str) -> None:
    _, url = gstreamer_camera("--auth", auth)
    with RunningCamera(url.replace("//", f"//{USER}@"), transport=transport) as camera:
        assert camera.next().image.shape == (240, 320, 3)
    for wrong, reason in [("viewer:wrong@", "refuses user and password (401)"), ("", "requires user and password")]:
        with RunningCamera(url.replace("//", f"//{wrong}")) as camera:
            until(lambda camera=camera, reason=reason: any(reason in one for one in camera.told.reasons))


def test_it_speaks_tls_and_its_certificate_is_verified(gstreamer_camera: Serve, tmp_path: Path) -> None:
    pem, certificate = tmp_path / "both.pem", tmp_path / "certificate.pem"
    key = tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=camera"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    pem.write_text(certificate.read_text() + key.read_text())
    _, url = gstreamer_camera("--tls", str(pem))
    url = url.replace("rtsp://", "rtsps://")
    with RunningCamera(url, ca=str(certificate)) as camera:
        for _ in range(5):
            assert camera.next().image.shape == (240, 320, 3)
    with RunningCamera(url) as camera:
        until(lambda: any("not trusted" in one for one in camera.told.reasons))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_killed_and_restarted_with_another_size_it_is_seen_again(gstreamer_camera: Serve, transport: str) -> None:
    server, url = gstreamer_camera()
    with RunningCamera(url, transport=transport, read_timeout=DeviceDuration("1s")) as camera:
        camera.next()
        server.end(signal.SIGKILL)
        until(lambda: camera.told.reasons, what="its end noticed")
        gone = time.monotonic()
        gstreamer_camera("--port", url.split(":")[2].split("/")[0], "--size", "640x360")
        frame = camera.next()
        assert frame.image.shape == (360, 640, 3)
        assert frame.arrived_at > gone
    assert camera.told.sizes == [(320, 240), (640, 360)]
    assert camera.counters.snapshot()["reconnects"] == 1


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_stalled_with_its_connection_open_it_is_left_and_found_again(gstreamer_camera: Serve, transport: str) -> None:
    server, url = gstreamer_camera()
    with RunningCamera(url, transport=transport, read_timeout=DeviceDuration("1s")) as camera:
        camera.next()
        server.popen.send_signal(signal.SIGSTOP)
        try:
            until(lambda: "sent nothing for 1 s" in camera.told.reasons, what="the silence noticed")
            back = time.monotonic()
        finally:
            server.popen.send_signal(signal.SIGCONT)
        frame = camera.next()
        assert frame.arrived_at > back
        assert frame.arrived_at - back < 30
        assert len(camera.told.sizes) == 2


def test_at_one_frame_a_second_only_its_key_frames_are_decoded(gstreamer_camera: Serve) -> None:
    _, url = gstreamer_camera("--keys", "15")
    with RunningCamera(url, every=Interval("1s")) as camera:
        moments: list[float] = []
        while len(moments) < 6:
            frame = camera.next()
            camera.cadence.mark_taken(frame.arrived_at, frame.number)
            moments.append(frame.arrived_at)
    assert camera.cadence.early_tolerance > 0  # which only a source that decodes key frames alone asks for
    assert 3.0 < moments[-1] - moments[1] < 15.0


OPENCV = """
import json, sys, threading
from emflow_edge.camera.reader import CameraReader
from emflow_schema.edge_config import Stream
from emflow_schema.units import Interval
from emflow_edge.metrics.counters import Counters

stop = threading.Event()
camera = CameraReader(Stream("peer", every=Interval("0s"), **json.loads(sys.argv[1])), Counters(), stop)
camera.start()
for _ in range(5):
    print(camera.frames.take(60).image.shape, flush=True)
stop.set()
camera.join(60)
"""


@pytest.mark.parametrize("name", ["preset", "own"])
def test_gstreamer_reads_it_through_an_opencv_that_has_it(
    gstreamer_camera: Serve, opencv_with_gstreamer: str, start: Callable[..., Process], name: str
) -> None:
    """Debian's python3-opencv is built with GStreamer; it runs our modules on Debian's own Python."""
    _, url = gstreamer_camera()
    own = (
        "rtspsrc location={url} protocols=tcp latency=0 ! rtph264depay ! h264parse ! avdec_h264 ! videoconvert"
        " ! video/x-raw,format=BGR ! appsink max-buffers=1 drop=true sync=false"
    )
    settings = {"url": url, "pipeline": "decodebin" if name == "preset" else own}
    root = Path(sys.modules[CameraReader.__module__].__file__ or "").parents[2]
    process = start(
        opencv_with_gstreamer,
        "-c",
        OPENCV,
        json.dumps(settings),
        env={"PYTHONPATH": os.pathsep.join((str(root), str(root.parent / "schema"))), "PATH": "/usr/bin"},
    )
    assert process.ended() == 0, process.text()
    assert process.text().count("(240, 320, 3)") == 5


@pytest.mark.usefixtures("gstreamer_camera")
def test_the_boards_pipeline_parses_up_to_the_elements_that_only_the_board_has() -> None:
    """What stands around the hardware's two elements is real, so those are replaced by software's, and it is parsed."""
    stream = Stream("x", "rtsp://127.0.0.1:1/x", pipeline="imx8mp")
    text = gstreamer.text(stream).replace("v4l2h264dec", "avdec_h264")
    text = text.replace("imxvideoconvert_g2d", "videoconvert")
    parse = "import sys, gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst; Gst.init(None); "
    done = subprocess.run(
        ["/usr/bin/python3", "-c", parse + "Gst.parse_launch(sys.argv[1])", text], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
