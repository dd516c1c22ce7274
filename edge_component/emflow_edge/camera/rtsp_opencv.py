"""RTSP cameras through the FFmpeg of OpenCV: without PyAV, and for codecs that `rtsp_pyav` does not decode.

The effect of its options, measured with H.264 at 25 frames a second: by default FFmpeg analyses the stream for 1.1 s,
and the first frames are 1.1 s old. With the minimum of `fpsprobesize`, `probesize` and `analyzeduration` the first
frame comes after 55 ms. `fflags;nobuffer` would drop the first key frame, which costs one GOP. One decoding thread
instead of one for each core saves 30 ms for every frame, because frame threading delays the output.
"""

from __future__ import annotations

import threading
import time
from urllib.parse import quote

from emflow_edge.camera.opencv_camera import OPTIONS, OpencvCamera, environment, parameters
from emflow_edge.camera.rtsp_relay import RtspRelay
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.buffered_socket import connect
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.edge_config import Stream
from emflow_schema.stream_url import Place

_QUICK = "|probesize;32|analyzeduration;1"
_MOMENT = 0.3
_REFUSAL = "answers, but gives no video (is the path right, and user and password?)"


def open_rtsp(
    stream: Stream, credentials: tuple[str, str], stop: threading.Event, notice: Notice = no_notice
) -> OpencvCamera:
    """Open an RTSP stream; raises CameraLost when that fails."""

    def opened(thorough: bool = False) -> cv2.VideoCapture | None:
        options = f"rtsp_transport;{transport}|fpsprobesize;0"
        capture = cv2.VideoCapture()
        wanted = parameters(
            OPEN_TIMEOUT_MSEC=stream.open_timeout.seconds * 1000,
            READ_TIMEOUT_MSEC=stream.read_timeout.seconds * 1000,
            N_THREADS=1,
        )
        begin = time.monotonic()
        with environment(OPTIONS, options if thorough else options + _QUICK):
            found = capture.open(url, cv2.CAP_FFMPEG, wanted)
        if not found:
            # A server that stops a stream with its last client, as ours was, refuses the next one for a moment.
            refused = not thorough and time.monotonic() - begin < _MOMENT
            return opened(thorough=True) if refused and not stop.wait(_MOMENT) else None
        if capture.grab():
            return capture
        # A camera without a description of the stream and without a key frame at the start needs a longer analysis.
        capture.release()
        return None if thorough else opened(thorough=True)

    relay = None
    if needs_relay(stream, credentials):
        relay = RtspRelay(stream, credentials, stop, notice)
        url, transport = relay.url, relay.transport
    else:
        place, transport = stream.place, stream.transport
        # Whether it is there at all; a host that is off would hold FFmpeg for its whole timeout.
        connect(place.host, place.port, stream.open_timeout.seconds, stop).close()
        url = plain_url(place)
    return OpencvCamera(stream, opened, _REFUSAL, stamped=True, relay=relay)


def needs_relay(stream: Stream, credentials: tuple[str, str]) -> bool:
    """Whether another program may not be given the address of the RTSP camera itself.

    Without a password there is nothing to protect, but for `rtsps`: FFmpeg verifies no certificate unless `ca` is set,
    and GStreamer does not know `ca`.
    """
    return any(credentials) or stream.scheme == "rtsps"


def plain_url(place: Place) -> str:
    """A URL with the scheme rtsp and without user and password, special characters quoted."""
    return f"rtsp://{place.authority}{quote(place.path, safe='/?&=%:@+,;~')}"
