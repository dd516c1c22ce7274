"""Films of one brightness, as cameras that need no process."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def film(path: Path, *brightness: int, side: int = 64) -> str:
    """Write a film with a frame of each brightness, 0 to 255, in their order; its URL. It is played again and again."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (side, side))
    assert writer.isOpened()
    for grey in brightness * (25 if len(brightness) == 1 else 1):
        writer.write(np.full((side, side, 3), grey, np.uint8))
    writer.release()
    return f"file://{path}"
