"""OpenCV, set up for live streams: the one place that knows its environment variables and opens a capture.

FFmpeg's options for OpenCV are a variable of the process that is read whenever a capture is opened. What they do here,
measured on a 25 frames a second H.264 stream: by default FFmpeg looks at the stream for 1.1 s before the first frame is
handed out, which is then 1.1 s old, as are those that waited behind it. With `fpsprobesize`, `probesize` and
`analyzeduration` at their least the first frame comes after 55 ms and is fresh. `fflags;nobuffer` on top would only
throw the first key frame away, which costs one GOP. One decoding thread instead of one a core takes 30 ms off every
frame, because frame threading hands a frame out only when the next ones have come; `flags;low_delay` adds nothing then.
"""

from __future__ import annotations

import os
import threading

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_THOROUGH = "rtsp_transport;tcp|fpsprobesize;0"
_QUICK = _THOROUGH + "|probesize;32|analyzeduration;1"

# Read when OpenCV is loaded, so before the import. Its own and FFmpeg's messages are off: they come many times a second
# from a broken stream, and may show a URL with its password. A person who sets these variables gets what they ask for.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# Without it, one camera that hangs while it is opened holds up the opening of all others.
os.environ.setdefault("OPENCV_FFMPEG_IS_THREAD_SAFE", "1")
os.environ[_OPTIONS] = _QUICK

import cv2  # noqa: E402

__all__ = ["cv2", "open_stream"]

# A hanging camera is given up after these. OpenCV before 4.6 has no such settings, and none for threads before 4.8.
_OPEN_TIMEOUT_MS, _READ_TIMEOUT_MS = 5000, 3000
_thorough = threading.Lock()


def open_stream(url: str, *, thorough: bool = False) -> cv2.VideoCapture | None:
    """Open an RTSP stream over TCP; None when that fails.

    Args:
        url: `rtsp://` or `rtsps://`, with credentials where they are needed.
        thorough: look at the stream until all is known about it. Needed for a camera that does not describe its H.264
            stream in its SDP and does not begin with a key frame either: opened quickly, it never gives a frame.
    """
    capture = cv2.VideoCapture()
    if not thorough:
        opened = capture.open(url, cv2.CAP_FFMPEG, _parameters())
    else:
        with _thorough:
            # Another camera that is opened meanwhile gets the same options; it only takes longer.
            os.environ[_OPTIONS] = _THOROUGH
            try:
                opened = capture.open(url, cv2.CAP_FFMPEG, _parameters())
            finally:
                os.environ[_OPTIONS] = _QUICK
    return capture if opened else None


def _parameters() -> list[int]:
    wanted = {
        "CAP_PROP_OPEN_TIMEOUT_MSEC": _OPEN_TIMEOUT_MS,
        "CAP_PROP_READ_TIMEOUT_MSEC": _READ_TIMEOUT_MS,
        "CAP_PROP_N_THREADS": 1,
    }
    return [number for name, value in wanted.items() if hasattr(cv2, name) for number in (getattr(cv2, name), value)]
