"""What one look at a frame found: classes of the whole picture, or things and where they are."""

from __future__ import annotations

from dataclasses import dataclass

from emflow_schema.result_message import Box, Detection
from emflow_schema.result_message import Class as ClassScore

__all__ = ["Box", "ClassScore", "Detection", "NonFiniteOutput", "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """top: the best classes, best first; for a detector the classes that were found, each with its best confidence.

    detections: None where the model only names the whole picture; otherwise best first, and none is an answer too.
    """

    top: tuple[ClassScore, ...]
    detections: tuple[Detection, ...] | None = None


class NonFiniteOutput(Exception):
    """The model answered NaN or infinity, which names no class; its next answer may be all right."""
