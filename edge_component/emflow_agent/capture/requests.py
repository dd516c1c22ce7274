"""Checks a CaptureData request against its model and copies it into a capture."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from emflow_agent.capture.jsonl import CONTENT_TYPES, Capture, CapturedItem
from emflow_agent.errors import BadRequest, TimestampInFuture
from emflow_agent.tensors.shared_memory import attached_segment, bytes_from
from emflow_agent.tensors.spec import MAX_DIMENSIONS, WIRE_TYPES, TensorSpec, type_name
from emflow_proto import messages as m

# Not only UUIDs: clients of the original agent send others, such as `capture1700000000`. No text that is a path or a
# command for whoever reads it.
CAPTURE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+=-]{0,127}")
MAX_TEXT_LENGTH = 1024
# Limits for one capture: number of tensors and auxiliary data items, and bytes in addition to the model's own tensors.
# Messages have their own limit; shared memory has none, and may be larger than the memory of this process.
MAX_ITEMS = 1024
MAX_EXTRA_BYTES = 64 << 20

TOLERANCE = 1.0
"""Seconds by which a timestamp may be ahead: the clock may be set back between the inference and the call."""

ITEM_SIZES = {int(number): dtype.itemsize for dtype, number in WIRE_TYPES.items()}


@dataclass(frozen=True)
class _Part:
    """A tensor or auxiliary data item of a request whose data is not copied yet. `nbytes`: how many it has."""

    sent: m.Tensor | m.AuxilaryData
    nbytes: int
    name: str
    content_type: str
    encoding: str = "NONE"

    def read(self) -> CapturedItem:
        return CapturedItem(self.name, self.content_type, _data(self.sent, self.nbytes), self.encoding)


def read_capture(
    request: m.CaptureDataRequest, model: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], now: float
) -> Capture:
    """Check a request and copy its data.

    Args:
        model: its name; the request may have its handle instead.
        inputs, outputs: of the model.
        now: Unix time in seconds.

    Raises:
        BadRequest: the capture id is not a name, the timestamp is invalid, or a tensor does not match its metadata.
        TimestampInFuture: the timestamp lies in the future.
    """
    if not CAPTURE_ID.fullmatch(request.capture_id):
        raise BadRequest(
            f"capture id {request.capture_id[:100]!r} is not a UUID, and no other name either: at most 128 letters, "
            "digits and _ . : @ + = -, beginning with a letter, a digit or _"
        )
    count = len(request.input_tensors) + len(request.output_tensors) + len(request.inputs) + len(request.outputs)
    if count > MAX_ITEMS:
        raise BadRequest(f"{count} tensors and auxiliary data items; a capture may have at most {MAX_ITEMS}")
    if not count:
        raise BadRequest("nothing to capture: the request has neither tensors nor auxiliary data")
    parts = (
        [_tensor("input", index, item, inputs) for index, item in enumerate(request.input_tensors)],
        [_tensor("output", index, item, outputs) for index, item in enumerate(request.output_tensors)],
        [_auxiliary(item) for item in request.inputs],
        [_auxiliary(item) for item in request.outputs],
    )
    # Before anything is copied: a segment may be larger than the memory of this process.
    size = sum(part.nbytes for part in chain(*parts))
    most = sum(0 if spec.is_open else spec.nbytes for spec in (*inputs, *outputs)) + MAX_EXTRA_BYTES
    if size > most:
        raise BadRequest(f"{size} bytes; a capture of this model may have at most {most}")
    time = _time(request, now)
    return Capture(request.capture_id, model, time, *(tuple(part.read() for part in each) for each in parts))


def _time(request: m.CaptureDataRequest, now: float) -> float:
    seconds, nanos = request.inference_timestamp.seconds, request.inference_timestamp.nanos
    if seconds == nanos == 0:
        return now  # not set; nothing was captured in the first second of 1970
    if seconds < 0 or not 0 <= nanos < 1_000_000_000:
        raise BadRequest(f"{seconds} s and {nanos} ns is not a valid time since 1970")
    time = seconds + nanos / 1e9
    if time > now + TOLERANCE:
        raise TimestampInFuture(f"the inference timestamp is {time - now:.1f} s in the future; is it in seconds?")
    return time


def _tensor(direction: str, index: int, tensor: m.Tensor, specs: Sequence[TensorSpec]) -> _Part:
    """Uses the model's metadata when the number of bytes matches, not the metadata of the client."""
    claimed = tensor.tensor_metadata
    name = bytes(claimed.name)
    named = next((spec for spec in specs if spec.name == name), None)
    unnamed = specs[index] if index < len(specs) and not named else None
    at_index = None
    if unnamed is not None and (not name or _may_be(unnamed, _size(tensor, _claimed_bytes(claimed)))):
        at_index = unnamed
    spec = named or at_index
    shown = (name or (spec.name if spec else b"")).decode("utf-8", "backslashreplace")[:MAX_TEXT_LENGTH]
    if spec is not None and not spec.is_open:
        size = _size(tensor, spec.nbytes)
        if size != spec.nbytes:
            raise BadRequest(f"{direction} {spec} has {spec.nbytes} bytes, not {size}")
        return _Part(tensor, size, shown, content_type(spec.data_type.name, spec.shape))
    # An output of another size in each answer, or a tensor that the model does not have: only the client's metadata is
    # available.
    if len(claimed.shape) > MAX_DIMENSIONS:
        raise BadRequest(f"{direction} {shown!r} has {len(claimed.shape)} dimensions, more than {MAX_DIMENSIONS}")
    data_type = spec.data_type if spec is not None and not claimed.shape else claimed.data_type
    needed = _claimed_bytes(claimed)
    size, element = _size(tensor, needed), ITEM_SIZES.get(data_type)
    if element and not claimed.shape and size % element == 0:
        return _Part(tensor, size, shown, content_type(m.DataType(data_type).name, [size // element]))
    if needed != size:
        claimed_type = f"{type_name(data_type)} {list(claimed.shape)}"
        expected = f"{needed} bytes" if needed is not None else "no valid size"
        raise BadRequest(f"{direction} {shown!r} sent as {claimed_type} has {size} bytes; such a tensor has {expected}")
    return _Part(tensor, size, shown, content_type(m.DataType(data_type).name, claimed.shape))


def _may_be(spec: TensorSpec, size: int) -> bool:
    """Whether a tensor that the client calls something else is this one of the model: it has as many bytes."""
    return not spec.is_open and spec.nbytes == size


def _claimed_bytes(claimed: m.TensorMetadata) -> int | None:
    """How many bytes a tensor with this type and shape has; None where there is no such tensor, or no shape."""
    size = ITEM_SIZES.get(claimed.data_type)
    if not size or not 0 < len(claimed.shape) <= MAX_DIMENSIONS or min(claimed.shape) < 0:
        return None
    return size * math.prod(claimed.shape)


def content_type(data_type: str, shape: Sequence[int]) -> str:
    """The observedContentType of a tensor. A scalar gets one dimension, for readers that expect one."""
    return f"Tensor[{data_type}; {', '.join(map(str, shape)) or '1'}]"


def _auxiliary(item: m.AuxilaryData) -> _Part:
    try:
        encoding = m.Encoding(item.encoding).name
    except ValueError:
        raise BadRequest(f"auxiliary data {item.name[:100]!r}: {item.encoding} is not an encoding") from None
    kind = CONTENT_TYPES.get(encoding, "application/octet-stream")
    return _Part(item, _size(item, None), item.name[:MAX_TEXT_LENGTH], kind, encoding)


def _size(item: m.Tensor | m.AuxilaryData, expected: int | None) -> int:
    """Size in bytes, before anything is copied.

    Args:
        expected: what a handle without a size means; None for all that the segment has.
    """
    if item.WhichOneof("data") != "shared_memory_handle":
        return len(item.byte_data)
    handle = item.shared_memory_handle
    if handle.size:
        return handle.size
    return bytes_from(handle) if expected is None else expected


def _data(item: m.Tensor | m.AuxilaryData, nbytes: int) -> bytes:
    """A copy of the data: the client reuses its segment when the call returns."""
    if item.WhichOneof("data") == "shared_memory_handle":
        with attached_segment(item.shared_memory_handle, nbytes) as view:
            return bytes(view)
    return item.byte_data
