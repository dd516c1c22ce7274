"""RTSP cameras through the FFmpeg of OpenCV: without PyAV, and for codecs that `rtsp_pyav` does not decode.

The effect of its options, measured with H.264 at 25 frames a second: by default FFmpeg analyses the stream for 1.1 s,
and the first frames are 1.1 s old. With the minimum of `fpsprobesize`, `probesize` and `analyzeduration` the first
frame comes after 55 ms. `fflags;nobuffer` would drop the first key frame, which costs one GOP. One decoding thread
instead of one for each core saves 30 ms for every frame, because frame threading delays the output.
"""

from __future__ import annotations

import threading
from urllib.parse import quote

from emflow_edge.camera.opencv_camera import OPTIONS, OpencvCamera, environment, parameters
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.buffered_socket import connect
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.edge_config import Stream

_QUICK = "|probesize;32|analyzeduration;1"
_REFUSAL = "answers, but gives no video (is the path right, and user and password?)"


def open_rtsp(
    stream: Stream, credentials: tuple[str, str], stop: threading.Event, _notice: Notice = no_notice
) -> OpencvCamera:
    """Open an RTSP stream; raises CameraLost when that fails."""
    place = stream.place
    # FFmpeg would find out too, but not report why, and a host that is off would hold it for its whole timeout.
    connect(place.host, place.port, stream.open_timeout.seconds, stop).close()
    url = with_credentials(stream, credentials)

    def opened(thorough: bool = False) -> cv2.VideoCapture | None:
        options = f"rtsp_transport;{stream.transport}|fpsprobesize;0"
        if stream.ca:
            options += f"|ca_file;{stream.ca}|tls_verify;1"
        capture = cv2.VideoCapture()
        wanted = parameters(
            OPEN_TIMEOUT_MSEC=stream.open_timeout.seconds * 1000,
            READ_TIMEOUT_MSEC=stream.read_timeout.seconds * 1000,
            N_THREADS=1,
        )
        with environment(OPTIONS, options if thorough else options + _QUICK):
            if not capture.open(url, cv2.CAP_FFMPEG, wanted):
                return None
        if capture.grab():
            return capture
        # A camera without a description of the stream and without a key frame at the start needs a longer analysis.
        capture.release()
        return None if thorough else opened(thorough=True)

    return OpencvCamera(stream, opened, _REFUSAL, stamped=True)


def with_credentials(stream: Stream, credentials: tuple[str, str]) -> str:
    """The URL for other programs: scheme rtsp or rtsps, with user and password, special characters quoted."""
    place = stream.place
    scheme = "rtsps" if place.scheme == "rtsps" else "rtsp"
    user, password = (quote(one, safe="") for one in credentials)
    before = f"{user}:{password}@" if user or password else ""
    return f"{scheme}://{before}{place.authority}{quote(place.path, safe='/?&=%:@+,;~')}"
