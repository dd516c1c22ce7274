"""The outcome of inference on one frame: classes of the whole image, or detected objects with boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emflow_schema.result_message import Box, Detection
from emflow_schema.result_message import Class as ClassScore

__all__ = ["Box", "ClassScore", "Detection", "NonFiniteOutput", "Outcome", "reaches"]


@dataclass(frozen=True)
class Outcome:
    """top: the best classes, best first; for a detector, the detected classes with their best confidence.

    detections: None for a classifier; otherwise best first, possibly empty.
    """

    top: tuple[ClassScore, ...]
    detections: tuple[Detection, ...] | None = None


class NonFiniteOutput(Exception):
    """The output contains NaN or infinity; the next one may be valid."""


def reaches(confidences: Any, threshold: float) -> Any:
    """Whether a confidence, or each of an array, is at least the threshold.

    A model's confidences are float32, in which 0.7 is another number than in a configuration; and versions of NumPy
    differ in what they compare. So both are compared as float32: a confidence that prints as the threshold reaches it.
    """
    return np.asarray(confidences, np.float32) >= np.float32(threshold)
