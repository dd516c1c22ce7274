"""What one look at a frame found: classes of the whole picture, or things and where they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """One class. index: without the classes before the offset, so the background has -1; confidence: 0…1."""

    index: int
    label: str | None
    confidence: float


@dataclass(frozen=True)
class Box:
    """A place in the frame, as fractions of its width and height from the top left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Detection:
    """One thing that was found."""

    index: int
    label: str | None
    confidence: float
    box: Box


@dataclass(frozen=True)
class Outcome:
    """top: the best classes, best first; for a detector the classes that were found, each with its best confidence.

    detections: None where the model only names the whole picture; otherwise best first, and none is an answer too.
    """

    top: tuple[Choice, ...]
    detections: tuple[Detection, ...] | None = None


class NoNumbers(Exception):
    """The model answered NaN or infinity, which names no class; its next answer may be all right."""
