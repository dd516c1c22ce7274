"""Checks a CaptureData request against its model and copies it into a capture."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import chain

from emflow_agent.capture.jsonl import CONTENT_TYPES, Capture, CapturedItem
from emflow_agent.errors import BadRequest, TimestampInFuture
from emflow_agent.tensors.shared_memory import attached_segment
from emflow_agent.tensors.spec import MAX_DIMENSIONS, WIRE_TYPES, TensorSpec, type_name
from emflow_proto import messages as m

CAPTURE_ID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)
MAX_TEXT_LENGTH = 1024
# Limits for one capture: number of tensors and auxiliary data items, and bytes in addition to the model's own tensors.
# Messages have their own limit; shared memory has none, and may be larger than the memory of this process.
MAX_ITEMS = 1024
MAX_EXTRA_BYTES = 64 << 20

TOLERANCE = 1.0
"""Seconds by which a timestamp may be ahead: the clock may be set back between the inference and the call."""

ITEM_SIZES = {int(number): dtype.itemsize for dtype, number in WIRE_TYPES.items()}


def read_capture(
    request: m.CaptureDataRequest, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], now: float
) -> Capture:
    """Check a request and copy its data. inputs, outputs: of the model; now: Unix time in seconds.

    Raises:
        BadRequest: the capture id is not a UUID, the timestamp is invalid, or a tensor does not match its metadata.
        TimestampInFuture: the timestamp lies in the future.
    """
    if not CAPTURE_ID.fullmatch(request.capture_id):
        raise BadRequest(f"capture id {request.capture_id[:100]!r} is not a UUID such as {'-'.join(_EXAMPLE)}")
    _check_amount(request, sum(spec.nbytes for spec in (*inputs, *outputs)))
    sent_in = tuple(_tensor("input", index, item, inputs) for index, item in enumerate(request.input_tensors))
    sent_out = tuple(_tensor("output", index, item, outputs) for index, item in enumerate(request.output_tensors))
    capture = Capture(
        id=request.capture_id,
        model=request.model_name,
        time=_time(request, now),
        inputs=sent_in,
        outputs=sent_out,
        auxiliary_inputs=tuple(map(_auxiliary, request.inputs)),
        auxiliary_outputs=tuple(map(_auxiliary, request.outputs)),
    )
    if not (capture.inputs or capture.outputs or capture.auxiliary_inputs or capture.auxiliary_outputs):
        raise BadRequest("nothing to capture: the request has neither tensors nor auxiliary data")
    return capture


_EXAMPLE = ("123e4567", "e89b", "12d3", "a456", "426614174000")


def _time(request: m.CaptureDataRequest, now: float) -> float:
    if not request.HasField("inference_timestamp"):
        return now
    seconds, nanos = request.inference_timestamp.seconds, request.inference_timestamp.nanos
    if seconds < 0 or not 0 <= nanos < 1_000_000_000:
        raise BadRequest(f"{seconds} s and {nanos} ns is not a valid time since 1970")
    time = seconds + nanos / 1e9
    if time > now + TOLERANCE:
        raise TimestampInFuture(f"the inference timestamp is {time - now:.1f} s in the future; is it in seconds?")
    return time


def _tensor(direction: str, index: int, tensor: m.Tensor, specs: Sequence[TensorSpec]) -> CapturedItem:
    """Uses the model's metadata when the number of bytes matches, not the metadata of the client."""
    claimed = tensor.tensor_metadata
    name, sent = bytes(claimed.name), _size(tensor)
    named = next((spec for spec in specs if spec.name == name), None)
    spec = named or (specs[index] if index < len(specs) and (not name or specs[index].nbytes == sent) else None)
    shown = (name or (spec.name if spec else b"")).decode("utf-8", "backslashreplace")[:MAX_TEXT_LENGTH]
    if spec is not None:
        if sent != spec.nbytes:
            raise BadRequest(f"{direction} {spec} has {spec.nbytes} bytes, not {sent}")
        return CapturedItem(shown, content_type(spec.data_type.name, spec.shape), _data(tensor))
    # An additional tensor that the model does not have: only the metadata of the client is available.
    if len(claimed.shape) > MAX_DIMENSIONS:
        raise BadRequest(f"{direction} {shown!r} has {len(claimed.shape)} dimensions, more than {MAX_DIMENSIONS}")
    size = ITEM_SIZES.get(claimed.data_type)
    needed = size * math.prod(claimed.shape) if size and claimed.shape and min(claimed.shape) >= 0 else -1
    if needed != sent:
        claimed_type = f"{type_name(claimed.data_type)} {list(claimed.shape)}"
        expected = f"{needed} bytes" if needed >= 0 else "no valid size"
        raise BadRequest(f"{direction} {shown!r} sent as {claimed_type} has {sent} bytes; such a tensor has {expected}")
    return CapturedItem(shown, content_type(m.DataType(claimed.data_type).name, claimed.shape), _data(tensor))


def content_type(data_type: str, shape: Sequence[int]) -> str:
    """The observedContentType of a tensor. A scalar gets one dimension, for readers that expect one."""
    return f"Tensor[{data_type}; {', '.join(map(str, shape)) or '1'}]"


def _auxiliary(item: m.AuxilaryData) -> CapturedItem:
    try:
        encoding = m.Encoding(item.encoding).name
    except ValueError:
        raise BadRequest(f"auxiliary data {item.name[:100]!r}: {item.encoding} is not an encoding") from None
    return CapturedItem(
        item.name[:MAX_TEXT_LENGTH], CONTENT_TYPES.get(encoding, "application/octet-stream"), _data(item), encoding
    )


def _check_amount(request: m.CaptureDataRequest, model_bytes: int) -> None:
    """model_bytes: size of the model's tensors. Raises: BadRequest."""
    parts = len(request.input_tensors) + len(request.output_tensors) + len(request.inputs) + len(request.outputs)
    if parts > MAX_ITEMS:
        raise BadRequest(f"{parts} tensors and auxiliary data items; a capture may have at most {MAX_ITEMS}")
    sent: Iterable[m.Tensor | m.AuxilaryData]
    sent = chain(request.input_tensors, request.output_tensors, request.inputs, request.outputs)
    size = sum(_size(item) for item in sent)
    if size > model_bytes + MAX_EXTRA_BYTES:
        raise BadRequest(f"{size} bytes; a capture of this model may have at most {model_bytes + MAX_EXTRA_BYTES}")


def _size(item: m.Tensor | m.AuxilaryData) -> int:
    """Size in bytes, before anything is copied."""
    if item.WhichOneof("data") == "shared_memory_handle":
        return item.shared_memory_handle.size
    return len(item.byte_data)


def _data(item: m.Tensor | m.AuxilaryData) -> bytes:
    """A copy of the data: the client reuses its segment when the call returns."""
    if item.WhichOneof("data") == "shared_memory_handle":
        with attached_segment(item.shared_memory_handle) as view:
            return bytes(view)
    return item.byte_data
