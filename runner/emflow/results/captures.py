"""Captured data, read back: lines of batches as captures, and tensors as arrays.

What is read was written by agents, ours and the original, and may have come a long way: a line that is none is told
and passed over.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from emflow.results.capture_places import Place

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DTYPES = {
    "UINT8": "u1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FLOAT16": "<f2",
    "FLOAT32": "<f4",
    "FLOAT64": "<f8",
}
TENSOR = re.compile(r"Tensor\[(\w+); ([\d, ]+)\]")
PLACES = {
    "deviceFleetInputs": "input",
    "deviceFleetOutputs": "output",
    "auxiliaryInputs": "auxiliary input",
    "auxiliaryOutputs": "auxiliary output",
}
REFERENCE = re.compile(r"(?:^|/)(raw-data/[\w-]+/[\w-]+)$")


@dataclass(frozen=True)
class Part:
    """One tensor, or one piece of auxiliary data, of a capture.

    `role`: input, output, auxiliary input or auxiliary output; `shape`: None for what is no tensor; `data`: None where
    the object that the line refers to is not there.
    """

    role: str
    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...] | None
    data: bytes | None

    def array(self) -> npt.NDArray[np.generic] | None:
        """The tensor; None for what is none, or is not there, or has not the bytes of its shape."""
        import numpy as np

        if self.shape is None or self.data is None or self.dtype not in DTYPES:
            return None
        dtype = np.dtype(DTYPES[self.dtype])
        if len(self.data) != dtype.itemsize * math.prod(self.shape):
            return None
        return np.frombuffer(self.data, dtype).reshape(self.shape)


@dataclass(frozen=True)
class Capture:
    """One line. `time`: of the inference, UTC; None where the line has none that can be read."""

    id: str
    fleet: str
    model: str
    device: str
    time: datetime | None
    key: str
    line: Mapping[str, Any]

    def parts(self, place: Place) -> tuple[Part, ...]:
        """All its tensors and auxiliary data, with their bytes."""
        entries = ((role, entry) for key, role in PLACES.items() for entry in self.line.get(key) or ())
        return tuple(_part(role, entry, self.key, place) for role, entry in entries if isinstance(entry, Mapping))


@dataclass(frozen=True)
class NotACapture:
    """A line that could not be read, and why."""

    key: str
    number: int
    reason: str


def read_batch(place: Place, key: str) -> Iterator[Capture | NotACapture]:
    """The captures of one batch, newest first; nothing when it is gone."""
    for number, line in reversed(list(enumerate((place.read(key) or b"").splitlines(), 1))):
        try:
            yield _capture(json.loads(line), key)
        except (ValueError, KeyError, TypeError) as error:
            yield NotACapture(key, number, f"{type(error).__name__}: {error}")


def _capture(line: Any, key: str) -> Capture:
    about = line["eventMetadata"]
    # .../<fleet>/<model>/YYYY/MM/DD/HH/<name>: the original's lines do not tell the model.
    folders = key.split("/")[:-5]
    try:
        time = datetime.fromisoformat(str(about.get("inferenceTime")))
    except ValueError:
        time = None
    return Capture(
        id=str(about["eventId"]),
        fleet=str(about.get("deviceFleetName") or (folders[-2] if len(folders) > 1 else "")),
        model=str(about.get("modelName") or (folders[-1] if folders else "")),
        device=str(about.get("deviceId") or ""),
        time=time,
        key=key,
        line=line,
    )


def _part(role: str, entry: Mapping[str, Any], key: str, place: Place) -> Part:
    kind = str(entry.get("observedContentType", ""))
    found = TENSOR.fullmatch(kind)
    dtype, shape = (found[1], tuple(int(size) for size in found[2].split(","))) if found else ("", None)
    return Part(role, str(entry.get("name", "")), kind, dtype, shape, _data(entry, key, place))


def _data(entry: Mapping[str, Any], key: str, place: Place) -> bytes | None:
    if "dataRef" in entry:
        # Beside its batch, wherever that was copied to since; nothing else that a line may name is opened.
        where = REFERENCE.search(str(entry["dataRef"]))
        return place.read(f"{key.rpartition('/')[0]}/{where[1]}") if where else None
    text = str(entry.get("data", ""))
    if entry.get("encoding", "BASE64") != "BASE64":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
