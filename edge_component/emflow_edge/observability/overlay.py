"""Annotated frames: draws the outcome of inference on a frame, and encodes it as JPEG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emflow_edge.opencv import cv2
from emflow_edge.outcome import Outcome

if TYPE_CHECKING:
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]

_JPEG_QUALITY = 85
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT, _SHADE = (255, 255, 255), (0, 0, 0)
# BGR; easy to distinguish on any image.
_COLORS = ((60, 180, 255), (90, 220, 90), (255, 140, 60), (200, 80, 255), (80, 80, 255), (230, 220, 60))


def draw(image: Image, outcome: Outcome) -> Image:
    """A copy of the frame with boxes and classes, or with the best classes in the corner.

    Args:
        image: uint8, height x width x 3, BGR.
    """
    drawn = image.copy()
    height, width = drawn.shape[:2]
    scale = max(0.4, min(width, height) / 700)
    line = max(1, round(scale * 2))
    if outcome.detections is None:
        for row, choice in enumerate(outcome.top):
            _write(
                drawn,
                _words(choice.index, choice.label, choice.confidence),
                (8, 8 + row * round(34 * scale)),
                scale,
                _SHADE,
            )
        return drawn
    for thing in reversed(outcome.detections):
        color = _COLORS[thing.index % len(_COLORS)]
        left, top = round(thing.box.x * width), round(thing.box.y * height)
        right, bottom = round((thing.box.x + thing.box.width) * width), round((thing.box.y + thing.box.height) * height)
        cv2.rectangle(drawn, (left, top), (right, bottom), color, line)
        _write(drawn, _words(thing.index, thing.label, thing.confidence), (left, top), scale, color)
    return drawn


def _words(index: int, label: str | None, confidence: float) -> str:
    # The fonts of OpenCV support ASCII only.
    name = (label or str(index)).encode("ascii", "replace").decode()
    return f"{name} {confidence:.2f}"


def _write(image: Image, text: str, corner: tuple[int, int], scale: float, color: tuple[int, int, int]) -> None:
    """Draw text on a filled bar with its top left corner at `corner`, moved so that it stays inside the image."""
    (wide, high), low = cv2.getTextSize(text, _FONT, scale, 1)
    left = max(0, min(corner[0], image.shape[1] - wide - 4))
    top = max(0, min(corner[1], image.shape[0] - high - low - 4))
    cv2.rectangle(image, (left, top), (left + wide + 4, top + high + low + 4), color, cv2.FILLED)
    cv2.putText(
        image, text, (left + 2, top + high + 2), _FONT, scale, _TEXT if sum(color) < 380 else _SHADE, 1, cv2.LINE_AA
    )


def jpeg(image: Image, outcome: Outcome) -> bytes | None:
    """The frame as JPEG, with its outcome drawn on a copy; None when OpenCV cannot encode it.

    Args:
        image: uint8, height x width x 3, BGR.
    """
    ok, data = cv2.imencode(".jpg", draw(image, outcome), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return bytes(data) if ok else None
