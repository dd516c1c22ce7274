"""One result message: reads its JSON into typed data, and formats it as a line for people."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

import emflow_schema
from emflow.json_text import from_json
from emflow.problems import printable
from emflow_schema.result_message import ResultMessage, fields_of

MAX_SNIPPET = 60
"""Bytes of a message that is not a result, in its line."""


@dataclass(frozen=True)
class Result(ResultMessage):
    """The result of inference on one frame. `payload`: the message as received."""

    payload: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True)
class NotAResult:
    """A message on a result topic that is not a result. `reason` says why, for people."""

    payload: bytes
    reason: str


def read(payload: bytes) -> Result | NotAResult:
    """Read one message, and check it against the result schema."""
    try:
        data = from_json(payload)
    except ValueError:
        return NotAResult(payload, "it is not JSON")
    error = best_match(_validator().iter_errors(data))
    if error is None:
        try:
            return Result(**fields_of(data), payload=payload)
        except ValueError as wrong:  # a date that does not exist
            return NotAResult(payload, str(wrong))
    key_path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    return NotAResult(payload, f"{key_path}: {error.message}" if key_path else error.message)


@functools.cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(emflow_schema.load("result"))


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
