"""RTSP cameras through the FFmpeg of OpenCV: without PyAV, and for codecs that `rtsp_pyav` does not decode.

The effect of its options, measured with H.264 at 25 frames a second: by default FFmpeg analyses the stream for 1.1 s,
and the first frames are 1.1 s old. With the minimum of `fpsprobesize`, `probesize` and `analyzeduration` the first
frame comes after 55 ms. `fflags;nobuffer` would drop the first key frame, which costs one GOP. One decoding thread
instead of one for each core saves 30 ms for every frame, because frame threading delays the output.
"""

from __future__ import annotations

import ssl
import threading
from urllib.parse import quote

from emflow_edge.camera.opencv_camera import OPTIONS, OpencvCamera, environment, parameters
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.auth import OriginCredentials
from emflow_edge.rtsp.buffered_socket import tls_context
from emflow_edge.rtsp.description import describe
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.edge_config import Stream
from emflow_schema.stream_url import Place

_QUICK = "|probesize;32|analyzeduration;1"
_REFUSAL = "answers, but gives no video (is the path right, and user and password?)"


def open_rtsp(
    stream: Stream, credentials: tuple[str, str], stop: threading.Event, notice: Notice = no_notice
) -> OpencvCamera:
    """Open an RTSP stream; raises CameraLost when that fails."""
    url = with_credentials(*behind_redirects(stream, credentials, stop, notice))

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


def behind_redirects(
    stream: Stream, credentials: tuple[str, str], stop: threading.Event, notice: Notice
) -> tuple[Place, tuple[str, str]]:
    """Where a stream is, behind redirects, and the user and password for that place, for other programs.

    FFmpeg follows redirects with user and password. It would also find out what is wrong with a camera, but not report
    it, and a host that is off would hold it for its whole timeout.

    Raises:
        CameraLost: the camera does not describe the stream.
    """
    own = OriginCredentials(stream.place, *credentials)
    context = tls_context(stream.ca) if stream.ca else None
    if context is None and stream.place.scheme == "rtsps":
        # As the programs have it, which verify a certificate only where `ca` is set.
        context = tls_context("")
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    described = describe(stream.place, own, context, stream.open_timeout.seconds, stop, notice)
    described.connection.wire.close()
    return described.place, own.at(described.place)


def with_credentials(place: Place, credentials: tuple[str, str]) -> str:
    """A URL with scheme rtsp or rtsps, with user and password, special characters quoted."""
    scheme = "rtsps" if place.scheme == "rtsps" else "rtsp"
    user, password = (quote(one, safe="") for one in credentials)
    before = f"{user}:{password}@" if user or password else ""
    return f"{scheme}://{before}{place.authority}{quote(place.path, safe='/?&=%:@+,;~')}"
