"""Cameras with a password that FFmpeg and GStreamer read through the relay; the camera is GStreamer's RTSP server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emflow_edge.camera import reader
from support import Process

pytestmark = pytest.mark.peer

Serve = Callable[..., "tuple[Process, str]"]
USER = "viewer:s3cret%20word"

TEN_FRAMES = """
import json, os, sys, threading
from emflow_edge.camera.reader import CameraReader
from emflow_schema.edge_config import Stream
from emflow_schema.units import Interval
from emflow_edge.metrics.counters import Counters

class Health:
    def absent(self, reason): print("absent:", reason, flush=True)
    def present(self, width, height, fps): pass
    def frozen(self): pass
    def black(self): pass
    def clear(self): pass

stop = threading.Event()
camera = CameraReader(Stream("peer", every=Interval("0s"), **json.loads(sys.argv[1])), Counters(), stop, Health())
camera.start()
for _ in range(10):
    print(camera.frames.take(30).image.shape, flush=True)
stop.set()
camera.join(60)
"""


def run(start: Callable[..., Process], python: str, settings: dict[str, str], **more: str) -> str:
    """What a component's reader prints that reads ten frames."""
    root = Path(reader.__file__).parents[2]
    places = os.pathsep.join((str(root), str(root.parent / "schema")))
    process = start(
        python, "-c", TEN_FRAMES, json.dumps(settings), env={"PYTHONPATH": places, "PATH": "/usr/bin", **more}
    )
    assert process.popen.wait(300) == 0, process.text()
    text: str = process.text()
    return text


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_ten_frames_come_through_the_relay_to_ffmpeg(
    gstreamer_camera: Serve, start: Callable[..., Process], auth: str, transport: str
) -> None:
    _, url = gstreamer_camera("--auth", auth)
    settings = {"url": url.replace("//", f"//{USER}@"), "backend": "opencv", "transport": transport}
    text = run(start, sys.executable, settings)
    assert text.count("(240, 320, 3)") == 10
    assert "absent" not in text


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_ten_frames_come_through_the_relay_to_gstreamer(
    gstreamer_camera: Serve, opencv_with_gstreamer: str, start: Callable[..., Process], auth: str, transport: str
) -> None:
    _, url = gstreamer_camera("--auth", auth)
    # The board's preset with software's decoder in the place of the hardware's elements.
    pipeline = (
        "rtspsrc location={url} protocols={transport} latency=0 drop-on-latency=true timeout={timeout}"
        " tcp-timeout={timeout} ! rtph264depay ! h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=BGR"
        " ! appsink max-buffers=1 drop=true sync=false"
    )
    settings = {"url": url.replace("//", f"//{USER}@"), "pipeline": pipeline, "transport": transport}
    # A proxy in the environment that nothing answers at.
    proxy = {"http_proxy": "http://127.0.0.1:9", "all_proxy": "socks5://127.0.0.1:9"}
    text = run(start, opencv_with_gstreamer, settings, **proxy)
    assert text.count("(240, 320, 3)") == 10
    assert "absent" not in text


@pytest.mark.parametrize("codec", ["h265", "jpeg"])
def test_other_codecs_come_through_the_relay_too(
    gstreamer_camera: Serve, start: Callable[..., Process], codec: str
) -> None:
    _, url = gstreamer_camera("--auth", "digest", "--codec", codec)
    text = run(start, sys.executable, {"url": url.replace("//", f"//{USER}@"), "backend": "opencv"})
    assert text.count("(240, 320, 3)") == 10
