"""One result message: from JSON as it came over MQTT to typed data, or to the reason why it is no result."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

import emflow_schema


@dataclass(frozen=True)
class Class:
    """One class the model knows, and how likely it is. `index` counts without the background class."""

    index: int
    label: str | None
    confidence: float


@dataclass(frozen=True)
class Box:
    """Where a thing is: fractions of the frame's width and height, from its top left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Detection(Class):
    """One thing that a detector found."""

    box: Box


@dataclass(frozen=True)
class Result:
    """What the model saw in one frame.

    The first four are in every message; the others are None (or empty) in one from the workshop's own client.
    `confidence` is 0 to 1, `predict_ms` the time of the Predict call, `detections` None unless the model
    is a detector, `frame_time` UTC, `frame_age_ms` at publishing,
    `payload` the message as it came, for whoever passes it on.
    """

    index: int
    confidence: float
    predict_ms: float
    model_name: str
    label: str | None = None
    top: tuple[Class, ...] = ()
    detections: tuple[Detection, ...] | None = None
    stream: str | None = None
    frame_time: datetime | None = None
    frame_age_ms: float | None = None
    sequence: int | None = None
    thing: str | None = None
    version: str | None = None
    payload: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True)
class NotAResult:
    """Something else came under the results' topic. `reason` is one sentence for people."""

    payload: bytes
    reason: str


def read(payload: bytes) -> Result | NotAResult:
    """Read one message against the result schema."""
    try:
        data = json.loads(payload)
    except ValueError:
        return NotAResult(payload, "it is not JSON")
    error = best_match(_validator().iter_errors(data))
    if error is None:
        try:
            return _result(data, payload)
        except ValueError as wrong:  # a day that no calendar has
            return NotAResult(payload, str(wrong))
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    return NotAResult(payload, f"{place}: {error.message}" if place else error.message)


@functools.cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(emflow_schema.load("result"))


def _result(data: Mapping[str, Any], payload: bytes) -> Result:
    taken = data.get("frame_time")
    return Result(
        index=int(data["index"]),
        confidence=float(data["confidence"]),
        predict_ms=float(data["performance"]),
        model_name=data["model_name"],
        label=data.get("label"),
        top=tuple(Class(**one) for one in data.get("top", ())),
        detections=_detections(data["detections"]) if "detections" in data else None,
        stream=data.get("stream"),
        frame_time=datetime.fromisoformat(taken) if taken else None,
        frame_age_ms=data.get("frame_age_ms"),
        sequence=data.get("sequence"),
        thing=data.get("thing"),
        version=data.get("version"),
        payload=payload,
    )


def _detections(listed: Sequence[Mapping[str, Any]]) -> tuple[Detection, ...]:
    return tuple(Detection(**{**one, "box": Box(**one["box"])}) for one in listed)
