"""The outcome of inference on one frame: classes of the whole image, or detected objects with boxes."""

from __future__ import annotations

from dataclasses import dataclass

from emflow_schema.result_message import Box, Detection
from emflow_schema.result_message import Class as ClassScore

__all__ = ["Box", "ClassScore", "Detection", "NonFiniteOutput", "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """top: the best classes, best first; for a detector, the detected classes with their best confidence.

    detections: None for a classifier; otherwise best first, possibly empty.
    """

    top: tuple[ClassScore, ...]
    detections: tuple[Detection, ...] | None = None


class NonFiniteOutput(Exception):
    """The output contains NaN or infinity; the next one may be valid."""
