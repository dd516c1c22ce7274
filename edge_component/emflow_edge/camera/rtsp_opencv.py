"""RTSP cameras through the FFmpeg of OpenCV: without PyAV, and for codecs that `rtsp_pyav` does not decode.

The effect of its options, measured with H.264 at 25 frames a second: by default FFmpeg analyses the stream for 1.1 s,
and the first frames are 1.1 s old. With the minimum of `fpsprobesize`, `probesize` and `analyzeduration` the first
frame comes after 55 ms. `fflags;nobuffer` would drop the first key frame, which costs one GOP. One decoding thread
instead of one for each core saves 30 ms for every frame, because frame threading delays the output.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote

from emflow_edge.camera.opencv_camera import OPTIONS, OpencvCamera, environment, parameters
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.auth import OriginCredentials
from emflow_edge.rtsp.buffered_socket import connect, tls_context
from emflow_edge.rtsp.description import describe
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
        options = f"rtsp_transport;{stream.transport}|fpsprobesize;0"
        if stream.ca:
            options += f"|ca_file;{stream.ca}|tls_verify;1"
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

    with behind_redirects(stream, credentials, stop, notice) as found:
        url = with_credentials(*found)
        return OpencvCamera(stream, opened, _REFUSAL, stamped=True)


@contextlib.contextmanager
def behind_redirects(
    stream: Stream, credentials: tuple[str, str], stop: threading.Event, notice: Notice
) -> Iterator[tuple[Place, tuple[str, str]]]:
    """Where a stream is, and the user and password for that place, while another program opens it.

    FFmpeg follows redirects with user and password, so they are followed here first; without a password there is
    nothing to protect. Meanwhile our connection stays open: servers that stop a stream with its last client refuse the
    next one for a moment.

    Raises:
        CameraLost: nothing answers, or the camera does not describe the stream. FFmpeg would find out too, but not
            report why, and a host that is off would hold it for its whole timeout.
    """
    place, timeout = stream.place, stream.open_timeout.seconds
    if not any(credentials):
        connect(place.host, place.port, timeout, stop).close()
        yield place, credentials
        return
    own = OriginCredentials(place, *credentials)
    context = tls_context(stream.ca) if stream.ca else None
    if context is None and place.scheme == "rtsps":
        # As the programs have it, which verify a certificate only where `ca` is set.
        context = tls_context("")
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    described = describe(place, own, context, timeout, stop, notice)
    try:
        yield described.place, own.at(described.place)
    finally:
        described.connection.wire.close()


def with_credentials(place: Place, credentials: tuple[str, str]) -> str:
    """A URL with scheme rtsp or rtsps, with user and password, special characters quoted."""
    scheme = "rtsps" if place.scheme == "rtsps" else "rtsp"
    user, password = (quote(one, safe="") for one in credentials)
    before = f"{user}:{password}@" if user or password else ""
    return f"{scheme}://{before}{place.authority}{quote(place.path, safe='/?&=%:@+,;~')}"
