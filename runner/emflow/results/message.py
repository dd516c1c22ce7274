"""One result message: reads its JSON into typed data, and formats it as a line for people."""

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
from emflow.problems import printable

MAX_SNIPPET = 60
"""Bytes of a message that is not a result, in its line."""


@dataclass(frozen=True)
class Class:
    """One class of the model, with its confidence (0 to 1). `index` does not count a background class."""

    index: int
    label: str | None
    confidence: float


@dataclass(frozen=True)
class Box:
    """The position of an object, as fractions of the frame's width and height, from its top left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Detection(Class):
    """One object that a detector found."""

    box: Box


@dataclass(frozen=True)
class Result:
    """The result of inference on one frame.

    Attributes:
        index, confidence, predict_ms, model_name: in every message. The others are None or empty in one from the
            workshop's own client. `confidence` is 0 to 1, `predict_ms` the duration of the Predict call.
        detections: None unless the model is a detector.
        frame_time: when the frame was taken, UTC.
        frame_age_ms: the frame's age when the result was published.
        payload: the message as received.
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
    """A message on a result topic that is not a result. `reason` says why, for people."""

    payload: bytes
    reason: str


def read(payload: bytes) -> Result | NotAResult:
    """Read one message, and check it against the result schema."""
    try:
        data = json.loads(payload)
    except ValueError:
        return NotAResult(payload, "it is not JSON")
    error = best_match(_validator().iter_errors(data))
    if error is None:
        try:
            return _result(data, payload)
        except ValueError as wrong:  # a date that does not exist
            return NotAResult(payload, str(wrong))
    key_path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    return NotAResult(payload, f"{key_path}: {error.message}" if key_path else error.message)


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


def format_line(message: Result | NotAResult) -> str:
    """One line for people: time (UTC), stream, label or index, confidence, duration of Predict, age of the frame.

    For example `03:04:05.678Z  front  orange               81.6 %  predict  19.8 ms  age   45 ms`. Parts that a
    message does not have are left out.
    """
    if isinstance(message, NotAResult):
        snippet = message.payload[:MAX_SNIPPET].decode(errors="replace")
        dots = "…" if len(message.payload) > MAX_SNIPPET else ""
        return f"not a result ({message.reason}): {printable(snippet)}{dots}"
    parts = []
    if message.frame_time:
        parts.append(f"{message.frame_time:%H:%M:%S}.{message.frame_time.microsecond // 1000:03d}Z")
    if message.stream:
        parts.append(printable(message.stream))
    label = f"class {message.index}" if message.label is None else printable(message.label)
    parts += [f"{label:<20}", f"{message.confidence:5.1%}".replace("%", " %"), f"predict {message.predict_ms:5.1f} ms"]
    if message.frame_age_ms is not None:
        parts.append(f"age {message.frame_age_ms:4.0f} ms")
    return "  ".join(parts)
