"""What a batch looks like when it is stored: one object of JSON lines, and one object for each tensor that is large.

Keys and lines are those that the original agent's readers know:
`<prefix>/<fleet>/<model>/YYYY/MM/DD/HH/<32 hex>.jsonl`, and in a line `deviceFleetInputs`, `deviceFleetOutputs` and
`eventMetadata`. docs/capture.md tells which of it is ours.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from emflow_agent.capture.settings import CaptureSettings

RAW_FOLDER = "raw-data"
CONTENT_TYPES = {"CSV": "text/csv", "JSON": "application/json"}


@dataclass(frozen=True)
class CapturedItem:
    """One tensor, or one piece of auxiliary data. `kind`: its observedContentType.

    `encoding` is how the client says `data` is written: NONE for bytes as they are (every tensor), CSV, JSON, BASE64.
    """

    name: str
    kind: str
    data: bytes
    encoding: str = "NONE"


@dataclass(frozen=True)
class Capture:
    """One CaptureData call, with copies of all that it carried. `time`: Unix seconds of the inference."""

    id: str
    model: str
    time: float
    inputs: tuple[CapturedItem, ...]
    outputs: tuple[CapturedItem, ...]
    auxiliary_inputs: tuple[CapturedItem, ...] = ()
    auxiliary_outputs: tuple[CapturedItem, ...] = ()

    @property
    def nbytes(self) -> int:
        parts = (*self.inputs, *self.outputs, *self.auxiliary_inputs, *self.auxiliary_outputs)
        return sum(len(part.data) for part in parts)


@dataclass(frozen=True)
class Batch:
    """What is stored together. Its keys are fixed: whoever stores it again, stores it in the same place.

    ids: of its captures; lines: the object at `key`, which is stored after all of `raw`, the large tensors by key;
    nbytes: of all tensors as they were captured.
    """

    key: str
    ids: tuple[str, ...]
    lines: bytes
    raw: tuple[tuple[str, bytes], ...]
    nbytes: int = 0


def group_by_model(captures: Sequence[Capture], most: int) -> Iterator[list[Capture]]:
    """What makes a batch each: at most so many, of one model, in the order in which models came."""
    by_model: dict[str, list[Capture]] = {}
    for capture in captures:
        by_model.setdefault(capture.model, []).append(capture)
    for same_model in by_model.values():
        for begin in range(0, len(same_model), most):
            yield same_model[begin : begin + most]


def make_batch(captures: Sequence[Capture], settings: CaptureSettings, now: float) -> Batch:
    """Make a batch of captures of one model. now: Unix seconds, which its key tells to the hour."""
    hour = datetime.fromtimestamp(now, timezone.utc).strftime("%Y/%m/%d/%H")
    folder = f"{key_prefix(settings)}{captures[0].model}/{hour}"
    name = uuid.uuid4().hex
    raw: list[tuple[str, bytes]] = []

    def store_separately(place: str, data: bytes) -> str:
        key = f"{folder}/{RAW_FOLDER}/{place}/{name}-{len(raw)}"
        raw.append((key, data))
        return object_location(settings, key)

    lines = [_line(capture, settings, store_separately) for capture in captures]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return Batch(
        key=f"{folder}/{name}.jsonl",
        ids=tuple(capture.id for capture in captures),
        lines=text.encode(),
        raw=tuple(raw),
        nbytes=sum(capture.nbytes for capture in captures),
    )


def object_location(settings: CaptureSettings, key: str) -> str:
    """Where the object with a key can be found in the end: an S3 URI, or the path of a file."""
    return f"s3://{settings.bucket}/{key}" if settings.uploads else str(Path(settings.folder or "") / key)


def key_prefix(settings: CaptureSettings) -> str:
    """The part that all keys have in common, with a slash at its end."""
    parts = [part for part in settings.prefix.split("/") if part]
    return "/".join([*parts, settings.fleet, ""])


def _line(capture: Capture, settings: CaptureSettings, store_separately: Callable[[str, bytes], str]) -> dict[str, Any]:
    def entries(parts: Sequence[CapturedItem], place: str) -> list[dict[str, str]]:
        return [dict(_entry(part, settings.embed_limit, place, store_separately)) for part in parts]

    line: dict[str, Any] = {
        "deviceFleetInputs": entries(capture.inputs, "input-tensors"),
        "deviceFleetOutputs": entries(capture.outputs, "output-tensors"),
        "auxiliaryInputs": entries(capture.auxiliary_inputs, "auxiliary-inputs"),
        "auxiliaryOutputs": entries(capture.auxiliary_outputs, "auxiliary-outputs"),
        "eventMetadata": {
            "deviceId": settings.device,
            "deviceFleetName": settings.fleet,
            "modelName": capture.model,
            "eventId": capture.id,
            "inferenceTime": _utc(capture.time),
        },
    }
    return {key: value for key, value in line.items() if value or not key.startswith("auxiliary")}


def _entry(
    part: CapturedItem, limit: int, place: str, store_separately: Callable[[str, bytes], str]
) -> Iterator[tuple[str, str]]:
    yield "name", part.name
    yield "observedContentType", part.kind
    if len(part.data) > limit:
        # As it was handed over; for bytes that are text of some encoding, that is the encoding.
        yield "encoding", part.encoding
        yield "dataRef", store_separately(place, part.data)
        return
    encoding, text = _embedded(part)
    yield "encoding", encoding
    yield "data", text


def _embedded(part: CapturedItem) -> tuple[str, str]:
    """How data stands in a line, and the data so written."""
    if part.encoding == "BASE64" and _is_base64(part.data):
        return "BASE64", part.data.decode()
    if part.encoding in CONTENT_TYPES:
        try:
            return part.encoding, part.data.decode()
        except UnicodeDecodeError:
            pass
    return "BASE64", base64.b64encode(part.data).decode()


def _is_base64(data: bytes) -> bool:
    try:
        base64.b64decode(data, validate=True)
    except binascii.Error:
        return False
    return True


def _utc(time: float) -> str:
    moment = datetime.fromtimestamp(time, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
