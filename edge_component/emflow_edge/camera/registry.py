"""The kinds of cameras, chosen by the URL and settings of a stream. A new kind needs a module and a line here."""

from __future__ import annotations

import importlib
import threading
from typing import Callable

from emflow_edge.camera.open_camera import OpenCamera
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.edge_config import Stream
from emflow_schema.stream_url import RTSP

Opener = Callable[[Stream, "tuple[str, str]", threading.Event, Notice], OpenCamera]
"""Opens a camera with user and password (may be empty); the event cancels it.

It reports what the camera does otherwise than its protocol says.

Raises:
    CameraLost: it cannot be opened.
"""

# Modules of `emflow_edge.camera`, imported on demand: a board need not have the libraries of the other kinds.
_OPENERS = {
    "rtsp-pyav": "rtsp_pyav:RtspPyavCamera",
    "rtsp-opencv": "rtsp_opencv:open_rtsp",
    "gstreamer": "gstreamer:open_pipeline",
    "v4l2": "v4l2:open_device",
    "file": "file:open_file",
    "mjpeg": "mjpeg:MjpegCamera",
}


def kind(stream: Stream, *, plain: bool = False) -> str:
    """The kind for a stream. plain: use OpenCV for RTSP, because our client cannot decode the codec."""
    if stream.pipeline or stream.backend == "gstreamer":
        return "gstreamer"
    if stream.scheme in RTSP:
        return "rtsp-opencv" if plain or stream.backend == "opencv" or not _has_pyav(stream) else "rtsp-pyav"
    return {"http": "mjpeg", "https": "mjpeg"}.get(stream.scheme, stream.scheme)


def open_camera(
    stream: Stream,
    credentials: tuple[str, str],
    stop: threading.Event,
    notice: Notice = no_notice,
    *,
    plain: bool = False,
) -> OpenCamera:
    """Open a stream's camera.

    Raises:
        CameraLost: it cannot be opened; UnsupportedCodec where `plain` would help.
    """
    module, _, name = _OPENERS[kind(stream, plain=plain)].partition(":")
    opener: Opener = getattr(importlib.import_module(f"emflow_edge.camera.{module}"), name)
    return opener(stream, credentials, stop, notice)


def in_url(stream: Stream) -> tuple[str, str]:
    """User and password in the URL."""
    if stream.scheme == "gstreamer":
        return "", ""
    place = stream.place
    return place.user, place.password


def _has_pyav(stream: Stream) -> bool:
    if stream.backend == "ffmpeg":
        return True
    from emflow_edge.camera.pyav_decoder import AVAILABLE

    return AVAILABLE
