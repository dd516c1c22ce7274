"""The stored format of a batch: one object with JSON lines, and one object for each large tensor.

Keys and lines are compatible with readers of the original agent's data:
`<prefix>/<fleet>/<model>/YYYY/MM/DD/HH/<32 hex>.jsonl`, and in a line `deviceFleetInputs`, `deviceFleetOutputs` and
`eventMetadata`. docs/capture.md describes what we added.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from emflow_agent.capture.settings import CaptureSettings
from emflow_schema.json_text import json_text

RAW_FOLDER = "raw-data"
CONTENT_TYPES = {"CSV": "text/csv", "JSON": "application/json"}


@dataclass(frozen=True)
class CapturedItem:
    """One tensor or auxiliary data item. `content_type`: its observedContentType.

    `encoding` of `data` as the client declares it: NONE for raw bytes (every tensor), CSV, JSON, BASE64.
    """

    name: str
    content_type: str
    data: bytes
    encoding: str = "NONE"


@dataclass(frozen=True)
class Capture:
    """One CaptureData call with copies of its data. `time`: Unix time of the inference in seconds."""

    id: str
    model: str
    time: float
    inputs: tuple[CapturedItem, ...]
    outputs: tuple[CapturedItem, ...]
    auxiliary_inputs: tuple[CapturedItem, ...] = ()
    auxiliary_outputs: tuple[CapturedItem, ...] = ()

    @property
    def nbytes(self) -> int:
        items = (*self.inputs, *self.outputs, *self.auxiliary_inputs, *self.auxiliary_outputs)
        return sum(len(item.data) for item in items)


@dataclass(frozen=True)
class Batch:
    """Captures that are stored together. The keys are fixed, so storing a batch again writes the same objects.

    ids: capture ids; lines: content of the object at `key`, which is stored last; raw: large tensors by key; nbytes:
    size of all tensors as captured.
    """

    key: str
    ids: tuple[str, ...]
    lines: bytes
    raw: tuple[tuple[str, bytes], ...]
    nbytes: int = 0


def group_by_model(captures: Sequence[Capture], most: int) -> Iterator[list[Capture]]:
    """Split captures into groups of one model with at most `most` captures, in order of arrival."""
    by_model: dict[str, list[Capture]] = {}
    for capture in captures:
        by_model.setdefault(capture.model, []).append(capture)
    for same_model in by_model.values():
        for begin in range(0, len(same_model), most):
            yield same_model[begin : begin + most]


def make_batch(captures: Sequence[Capture], settings: CaptureSettings, now: float) -> Batch:
    """Make a batch of captures of one model. now: Unix time in seconds; the key contains the hour."""
    hour = datetime.fromtimestamp(now, timezone.utc).strftime("%Y/%m/%d/%H")
    folder = f"{key_prefix(settings)}{captures[0].model}/{hour}"
    name = uuid.uuid4().hex
    raw: list[tuple[str, bytes]] = []

    def store_separately(section: str, data: bytes) -> str:
        key = f"{folder}/{RAW_FOLDER}/{section}/{name}-{len(raw)}"
        raw.append((key, data))
        return object_location(settings, key)

    lines = [_line(capture, settings, store_separately) for capture in captures]
    text = "".join(json_text(line, ascii_only=True) + "\n" for line in lines)
    return Batch(
        key=f"{folder}/{name}.jsonl",
        ids=tuple(capture.id for capture in captures),
        lines=text.encode(),
        raw=tuple(raw),
        nbytes=sum(capture.nbytes for capture in captures),
    )


def object_location(settings: CaptureSettings, key: str) -> str:
    """The final location of the object with this key: an S3 URI or a file path."""
    return f"s3://{settings.bucket}/{key}" if settings.uploads else str(Path(settings.folder or "") / key)


def key_prefix(settings: CaptureSettings) -> str:
    """The common prefix of all keys, with a slash at the end."""
    items = [item for item in settings.prefix.split("/") if item]
    return "/".join([*items, settings.fleet, ""])


def _line(capture: Capture, settings: CaptureSettings, store_separately: Callable[[str, bytes], str]) -> dict[str, Any]:
    def entries(items: Sequence[CapturedItem], section: str) -> list[dict[str, str]]:
        return [dict(_entry(item, settings.embed_limit, section, store_separately)) for item in items]

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
    item: CapturedItem, limit: int, section: str, store_separately: Callable[[str, bytes], str]
) -> Iterator[tuple[str, str]]:
    yield "name", item.name
    yield "observedContentType", item.content_type
    if len(item.data) > limit:
        # Stored as sent, with the encoding that the client declared.
        yield "encoding", item.encoding
        yield "dataRef", store_separately(section, item.data)
        return
    encoding, text = _embedded(item)
    yield "encoding", encoding
    yield "data", text


def _embedded(item: CapturedItem) -> tuple[str, str]:
    """The encoding of data inside a JSON line, and the encoded text."""
    if item.encoding == "BASE64" and _is_base64(item.data):
        return "BASE64", item.data.decode()
    if item.encoding in CONTENT_TYPES:
        try:
            return item.encoding, item.data.decode()
        except UnicodeDecodeError:
            pass
    return "BASE64", base64.b64encode(item.data).decode()


def _is_base64(data: bytes) -> bool:
    try:
        base64.b64decode(data, validate=True)
    except binascii.Error:
        return False
    return True


def _utc(time: float) -> str:
    moment = datetime.fromtimestamp(time, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
