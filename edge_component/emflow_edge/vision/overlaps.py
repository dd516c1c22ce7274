"""Suppression of overlapping boxes: of those that show the same thing, the best stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emflow_edge.camera.opencv import cv2

if TYPE_CHECKING:
    import numpy.typing as npt

    from emflow_edge.vision.values import Floats


def suppressed(
    corners: Floats, scores: Floats, classes: npt.NDArray[np.int64], iou: float, most: int
) -> npt.NDArray[np.int64]:
    """Rows that stay, best first, at most `most`.

    Args:
        corners: float32 [n, 4]: left, top, right, bottom.
        scores: float32 [n].
        classes: int64 [n]; boxes of different classes never suppress each other.
        iou: intersection over union of two boxes above which the weaker one goes.
    """
    if not len(scores):
        return np.zeros(0, np.int64)
    # Each class in a place of its own, so that one call does for all: OpenCV knows this itself only from 4.7 on.
    apart = float(corners.max() - min(0.0, float(corners.min()))) + 1.0
    shifted = corners + (classes * apart)[:, np.newaxis]
    places = np.concatenate([shifted[:, :2], shifted[:, 2:] - shifted[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(places.tolist(), scores.tolist(), 0.0, iou, top_k=0)
    # An array, a tuple, or (before 4.5.4) an array of one column.
    return np.asarray(kept, np.int64).reshape(-1)[:most]
