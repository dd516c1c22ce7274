"""Programs that are not ours: Mosquitto, GStreamer's RTSP server and Chromium.

In Debian: mosquitto, gir1.2-gst-rtsp-server-1.0, chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support import Process, free_port, until

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def mosquitto(start: Callable[..., Process], tmp_path: Path) -> int:
    """A Mosquitto broker on loopback; its port."""
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program is None:
        _missing("mosquitto is not installed (Debian: apt-get install mosquitto)")
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    broker = start(str(program), "-v", "-c", str(config))
    broker.says("running")
    return port


@pytest.fixture
def chromium() -> str:
    """The browser's program."""
    program = shutil.which("chromium")
    if program is None:
        _missing("Chromium is not installed (Debian: apt-get install chromium)")
    return str(program)


@pytest.fixture
def gstreamer_camera(start: Callable[..., Process]) -> Callable[..., tuple[Process, str]]:
    """GStreamer's RTSP server with options of rtsp_server.py; its process and the stream's URL."""
    ready = [SYSTEM_PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"]
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run(ready, capture_output=True, check=False).returncode:
        _missing(
            "GStreamer's RTSP server is not installed (Debian: apt-get install python3-gi gir1.2-gst-rtsp-server-1.0)"
        )

    def serve(*options: str) -> tuple[Process, str]:
        server = start(SYSTEM_PYTHON, str(HERE / "rtsp_server.py"), *options)
        until(
            lambda: server.text().endswith("\n") and server.text().strip().splitlines()[-1].isdecimal(), what="a port"
        )
        return server, f"rtsp://127.0.0.1:{server.text().split()[-1]}/stream1"

    return serve


@pytest.fixture
def gstreamer_rtsp(gstreamer_camera: Callable[..., tuple[Process, str]]) -> Callable[[Path], str]:
    """GStreamer's RTSP server showing a PNG; the stream's URL."""
    return lambda picture: gstreamer_camera(str(picture))[1]


@pytest.fixture
def opencv_with_gstreamer() -> str:
    """A Python whose OpenCV can run GStreamer's pipelines: Debian's."""
    probe = "import cv2; assert cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)"
    if subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode:
        _missing("no OpenCV with GStreamer (Debian: apt-get install python3-opencv gstreamer1.0-libav)")
    return SYSTEM_PYTHON
