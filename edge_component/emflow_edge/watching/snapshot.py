"""A frame and its result as a picture for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emflow_edge.camera.opencv import cv2
from emflow_edge.observability.overlay import draw
from emflow_edge.results.message import Result

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_QUALITY = 85


def jpeg(image: npt.NDArray[np.uint8], result: Result) -> bytes | None:
    """A frame, uint8, height x width x 3, BGR, as JPEG with its result drawn on a copy; None when OpenCV cannot."""
    ok, data = cv2.imencode(".jpg", draw(image, result.outcome), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(data) if ok else None
