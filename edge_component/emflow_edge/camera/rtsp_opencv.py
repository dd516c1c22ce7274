"""RTSP through OpenCV's own FFmpeg: where PyAV is not installed, and for codecs that we do not read ourselves.

What its options do, measured on a 25 frames a second H.264 stream: by default FFmpeg looks at the stream for 1.1 s
before the first frame is handed out, which is then 1.1 s old, as are those that waited behind it. With `fpsprobesize`,
`probesize` and `analyzeduration` at their least the first frame comes after 55 ms and is fresh. `fflags;nobuffer` on
top would only throw the first key frame away, which costs one GOP. One decoding thread instead of one a core takes
30 ms off every frame, because frame threading hands a frame out only when the next ones have come.
"""

from __future__ import annotations

import threading
from urllib.parse import quote

from emflow_edge.camera.opencv_camera import OPTIONS, OpencvCamera, environment, parameters
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.buffered_socket import connect
from emflow_schema.edge_config import Stream

_QUICK = "|probesize;32|analyzeduration;1"
_REFUSAL = "answers, but gives no video (is the path right, and user and password?)"


def open_rtsp(stream: Stream, credentials: tuple[str, str], stop: threading.Event) -> OpencvCamera:
    """Open an RTSP stream; raises Lost when that fails."""
    place = stream.place
    # FFmpeg would find out too, but not tell why, and a host that is off would hold it for its whole timeout.
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
        # A camera that neither describes its stream nor begins it with a key frame has to be looked at for longer.
        capture.release()
        return None if thorough else opened(thorough=True)

    return OpencvCamera(stream, opened, _REFUSAL, stamped=True)


def with_credentials(stream: Stream, credentials: tuple[str, str]) -> str:
    """The URL as programs take it: RTSP by its usual name, with user and password, without a character of a shell's."""
    place = stream.place
    scheme = "rtsps" if place.scheme == "rtsps" else "rtsp"
    user, password = (quote(one, safe="") for one in credentials)
    before = f"{user}:{password}@" if user or password else ""
    return f"{scheme}://{before}{place.authority}{quote(place.path, safe='/?&=%:@+,;~')}"
