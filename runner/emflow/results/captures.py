"""Reads captured data: the lines of a batch as captures, and their tensors as arrays.

The data was written by `emflow-agent`, by Edge Manager's own agent, or by anybody who may write to the same place, and
may have been damaged since. What cannot be read becomes a `NotACapture`; nothing in a line ends the reading of others.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from emflow.json_text import from_json
from emflow.results.capture_stores import CaptureStore, Unreadable

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
TENSOR = re.compile(r"Tensor\[(\w+); (\d{1,12}(?:, ?\d{1,12}){0,31})\]", re.ASCII)
"""NumPy's arrays have 32 dimensions at most, in its older versions."""
ROLES = {
    "deviceFleetInputs": "input",
    "deviceFleetOutputs": "output",
    "auxiliaryInputs": "auxiliary input",
    "auxiliaryOutputs": "auxiliary output",
}
REFERENCE = re.compile(r"(?:^|/)(raw-data/[\w-]+/[\w-]+)$")


@dataclass(frozen=True)
class Part:
    """One tensor, or one piece of auxiliary data, of a capture.

    Attributes:
        role: input, output, auxiliary input or auxiliary output.
        kind: the content type, such as `Tensor[UINT8; 1, 224, 224, 3]`.
        dtype, shape: of a tensor; empty and None for auxiliary data.
        data: None when the object that the line refers to is missing.
    """

    role: str
    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...] | None
    data: bytes | None

    def array(self) -> npt.NDArray[np.generic] | None:
        """The tensor; None when this is not a tensor, its data is missing or empty, or does not match the shape."""
        import numpy as np

        if self.shape is None or self.data is None or self.dtype not in DTYPES:
            return None
        dtype = np.dtype(DTYPES[self.dtype])
        if not self.data or len(self.data) != dtype.itemsize * math.prod(self.shape):
            return None
        return np.frombuffer(self.data, dtype).reshape(self.shape)


@dataclass(frozen=True)
class Capture:
    """One line of a batch. `time`: of the inference, UTC; None when the line has no valid time."""

    id: str
    fleet: str
    model: str
    device: str
    time: datetime | None
    key: str
    line: Mapping[str, Any]

    def parts(self, store: CaptureStore) -> tuple[Part, ...]:
        """All tensors and auxiliary data, with their bytes."""
        listed = [(role, self.line.get(key)) for key, role in ROLES.items()]
        entries = [(role, entry) for role, many in listed if isinstance(many, list) for entry in many]
        return tuple(_part(role, entry, self.key, store) for role, entry in entries if isinstance(entry, Mapping))


@dataclass(frozen=True)
class NotACapture:
    """A line, or a whole batch (then `number` is 0), that could not be read, with the reason."""

    key: str
    number: int
    reason: str

    @property
    def is_batch(self) -> bool:
        return self.number == 0

    def __str__(self) -> str:
        return (
            f"{self.key}, line {self.number}: not a capture ({self.reason})"
            if self.number
            else (f"{self.key}: {self.reason}")
        )


def read_batch(store: CaptureStore, key: str) -> Iterator[Capture | NotACapture]:
    """The captures of one batch, newest first; none when the batch has been deleted."""
    try:
        lines = (store.read(key) or b"").splitlines()
    except Unreadable as error:
        yield NotACapture(key, 0, str(error))
        return
    for number, line in reversed(list(enumerate(lines, 1))):
        if not line.strip():
            continue
        try:
            yield _capture(from_json(line), key)
        except ValueError as error:
            yield NotACapture(key, number, str(error))


def _capture(line: Any, key: str) -> Capture:
    """Raises ValueError for a line that is none."""
    metadata = line.get("eventMetadata") if isinstance(line, Mapping) else None
    if not isinstance(metadata, Mapping):
        raise ValueError("it has no mapping `eventMetadata`")
    if "eventId" not in metadata:
        raise ValueError("its `eventMetadata` has no `eventId`")
    # The key is .../<fleet>/<model>/YYYY/MM/DD/HH/<name>. Lines of Edge Manager's own agent lack the model.
    folders = key.split("/")[:-5]
    try:
        time = datetime.fromisoformat(str(metadata.get("inferenceTime")))
    except ValueError:
        time = None
    return Capture(
        id=str(metadata["eventId"]),
        fleet=str(metadata.get("deviceFleetName") or (folders[-2] if len(folders) > 1 else "")),
        model=str(metadata.get("modelName") or (folders[-1] if folders else "")),
        device=str(metadata.get("deviceId") or ""),
        time=time,
        key=key,
        line=line,
    )


def _part(role: str, entry: Mapping[str, Any], key: str, store: CaptureStore) -> Part:
    kind = str(entry.get("observedContentType", ""))
    match = TENSOR.fullmatch(kind)
    dtype, shape = (match[1], tuple(int(size) for size in match[2].split(","))) if match else ("", None)
    return Part(role, str(entry.get("name", "")), kind, dtype, shape, _read_data(entry, key, store))


def _read_data(entry: Mapping[str, Any], key: str, store: CaptureStore) -> bytes | None:
    if "dataRef" in entry:
        # The object is beside its batch, which may have been copied. A reference to anything else is not followed.
        reference = REFERENCE.search(str(entry["dataRef"]))
        try:
            return store.read(f"{key.rpartition('/')[0]}/{reference[1]}") if reference else None
        except Unreadable:
            return None
    text = str(entry.get("data", ""))
    try:
        # Without an encoding, it is base64. A text may have half a character in it, which no bytes stand for.
        return text.encode() if entry.get("encoding", "BASE64") != "BASE64" else base64.b64decode(text, validate=True)
    except ValueError:
        return None
