"""A video file as a camera: played at its own frame rate, in an endless loop."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from emflow_edge.camera.open_camera import ArrivedFrame, DecodedPicture
from emflow_edge.camera.opencv_camera import OpencvCamera, parameters
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.errors import CameraLost
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.edge_config import Stream

# For files without a frame rate.
_USUAL_FPS = 25.0
# Seconds. With a longer delay, playing continues at the normal rate instead of catching up.
_HURRY = 0.5


def open_file(
    stream: Stream, _credentials: tuple[str, str], stop: threading.Event, _notice: Notice = no_notice
) -> FileCamera:
    """Open the file that a stream's URL names; raises CameraLost when that fails."""
    return FileCamera(stream, stop)


class FileCamera:
    """A video file that is played."""

    def __init__(self, stream: Stream, stop: threading.Event) -> None:
        path = Path(stream.place.path)
        try:
            if not path.is_file():
                raise CameraLost(f"does not exist ({path})")
        except OSError as error:
            raise CameraLost(f"cannot be read ({error.strerror})") from error

        def opened() -> cv2.VideoCapture | None:
            capture = cv2.VideoCapture()
            return capture if capture.open(str(path), cv2.CAP_FFMPEG, parameters(N_THREADS=1)) else None

        self._stop, self._stream, self._opened = stop, stream, opened
        self._play()
        self.fps = self._inner.fps or _USUAL_FPS
        self._due = time.monotonic()

    def _play(self) -> None:
        self._frames = 0
        self._inner = OpencvCamera(self._stream, self._opened, "is not a video that can be decoded")

    def grab(self) -> ArrivedFrame:
        try:
            self._inner.grab()
        except CameraLost:
            if not self._frames:
                raise CameraLost("holds no frames") from None
            self._inner.close()
            self._play()
            self._inner.grab()
        self._frames += 1
        now = time.monotonic()
        self._due = max(self._due + 1 / self.fps, now - _HURRY)
        self._stop.wait(max(0.0, self._due - now))
        self._arrival = ArrivedFrame(time.time(), time.monotonic())
        return self._arrival

    def decode(self, *, alone: bool) -> list[tuple[ArrivedFrame, DecodedPicture]]:
        return [(self._arrival, picture) for _, picture in self._inner.decode(alone=alone)]

    def close(self) -> None:
        self._inner.close()
