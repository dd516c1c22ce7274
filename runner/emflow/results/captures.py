"""Reads captured data: the lines of a batch as captures, and their tensors as arrays.

The data was written by `emflow-agent` or by Edge Manager's own agent, and may have been damaged since: a line that
cannot be read becomes a `NotACapture`.
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

from emflow.results.capture_stores import CaptureStore

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
        """The tensor; None when this is not a tensor, its data is missing, or its size does not match the shape."""
        import numpy as np

        if self.shape is None or self.data is None or self.dtype not in DTYPES:
            return None
        dtype = np.dtype(DTYPES[self.dtype])
        if len(self.data) != dtype.itemsize * math.prod(self.shape):
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
        entries = ((role, entry) for key, role in ROLES.items() for entry in self.line.get(key) or ())
        return tuple(_part(role, entry, self.key, store) for role, entry in entries if isinstance(entry, Mapping))


@dataclass(frozen=True)
class NotACapture:
    """A line that could not be read, with the reason."""

    key: str
    number: int
    reason: str


def read_batch(store: CaptureStore, key: str) -> Iterator[Capture | NotACapture]:
    """The captures of one batch, newest first; none when the batch has been deleted."""
    for number, line in reversed(list(enumerate((store.read(key) or b"").splitlines(), 1))):
        try:
            yield _capture(json.loads(line), key)
        except (ValueError, KeyError, TypeError) as error:
            yield NotACapture(key, number, f"{type(error).__name__}: {error}")


def _capture(line: Any, key: str) -> Capture:
    metadata = line["eventMetadata"]
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
        return store.read(f"{key.rpartition('/')[0]}/{reference[1]}") if reference else None
    text = str(entry.get("data", ""))
    if entry.get("encoding", "BASE64") != "BASE64":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
