"""Local cameras: V4L2 devices such as /dev/video0, through OpenCV."""

from __future__ import annotations

import threading
from pathlib import Path

from emflow_edge.camera.opencv_camera import OpencvCamera, parameters
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.errors import CameraLost
from emflow_edge.rtsp.notices import Notice, no_notice
from emflow_schema.edge_config import Stream


def open_device(
    stream: Stream, _credentials: tuple[str, str], _stop: threading.Event, _notice: Notice = no_notice
) -> OpencvCamera:
    """Open the device that a stream's URL names; raises CameraLost when that fails."""
    path = Path(stream.place.path)
    try:
        if not path.is_char_device():
            raise CameraLost(f"does not exist (no device {path})")
        # OpenCV does not report why a device cannot be opened.
        with path.open("rb", buffering=0):
            pass
    except OSError as error:
        raise CameraLost(f"cannot be opened ({error.strerror}; is this user in the group video?)") from error

    def opened() -> cv2.VideoCapture | None:
        capture = cv2.VideoCapture()
        if not capture.open(str(path), cv2.CAP_V4L2, parameters(BUFFERSIZE=1)):
            return None
        return capture

    return OpencvCamera(stream, opened, "does not deliver pictures")
