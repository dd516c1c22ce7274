"""A CaptureData request, checked against the model that it is about, as a capture that holds copies of everything."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import chain

from emflow_agent.capture.jsonl import CONTENT_TYPES, Capture, CapturedItem
from emflow_agent.errors import BadRequest, TimestampInFuture
from emflow_agent.tensors.shared_memory import attached_segment
from emflow_agent.tensors.spec import MAX_DIMENSIONS, WIRE_TYPES, TensorSpec
from emflow_proto import messages as m

CAPTURE_ID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)
MAX_TEXT_LENGTH = 1024
# Tensors and auxiliary data of one capture, and their bytes beside those of the model's own tensors. Messages have a
# limit of their own; shared memory has none, and may be larger than what this process can have.
MAX_ITEMS = 1024
MAX_EXTRA_BYTES = 64 << 20

TOLERANCE = 1.0
"""Seconds by which a client's clock may be ahead: it reads the same clock, which may be set back in between."""

ITEM_SIZES = {int(number): dtype.itemsize for dtype, number in WIRE_TYPES.items()}


def read_capture(
    request: m.CaptureDataRequest, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], now: float
) -> Capture:
    """Check and copy. inputs, outputs: the model's tensors; now: Unix seconds.

    Raises:
        BadRequest: the capture id is no UUID, the time is none, or a tensor cannot be what it is said to be.
        TimestampInFuture: the time is still to come.
    """
    if not CAPTURE_ID.fullmatch(request.capture_id):
        raise BadRequest(f"capture id {request.capture_id[:100]!r} is no UUID such as {'-'.join(_EXAMPLE)}")
    _check_amount(request, sum(known.nbytes for known in (*inputs, *outputs)))
    sent_in = tuple(_tensor("input", at, one, inputs) for at, one in enumerate(request.input_tensors))
    sent_out = tuple(_tensor("output", at, one, outputs) for at, one in enumerate(request.output_tensors))
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
        raise BadRequest("there is nothing to capture: neither tensors nor auxiliary data were sent")
    return capture


_EXAMPLE = ("123e4567", "e89b", "12d3", "a456", "426614174000")


def _time(request: m.CaptureDataRequest, now: float) -> float:
    if not request.HasField("inference_timestamp"):
        return now
    seconds, nanos = request.inference_timestamp.seconds, request.inference_timestamp.nanos
    if seconds < 0 or not 0 <= nanos < 1_000_000_000:
        raise BadRequest(f"{seconds} s and {nanos} ns are no time since 1970")
    time = seconds + nanos / 1e9
    if time > now + TOLERANCE:
        raise TimestampInFuture(f"the inference was {time - now:.1f} s in the future; is the client's time in seconds?")
    return time


def _tensor(what: str, at: int, tensor: m.Tensor, specs: Sequence[TensorSpec]) -> CapturedItem:
    """By the model's own metadata where the bytes are as many as the model has there, whatever the client claims."""
    claimed = tensor.tensor_metadata
    name, sent = bytes(claimed.name), _size(tensor)
    named = next((known for known in specs if known.name == name), None)
    known = named or (specs[at] if at < len(specs) and (not name or specs[at].nbytes == sent) else None)
    shown = (name or (known.name if known else b"")).decode("utf-8", "backslashreplace")[:MAX_TEXT_LENGTH]
    if known is not None:
        if sent != known.nbytes:
            raise BadRequest(f"{what} {known} has {known.nbytes} bytes, not {sent}")
        return CapturedItem(shown, kind(known.data_type.name, known.shape), _data(tensor))
    # Something of the client's own beside the model's tensors; its word is all that there is.
    if len(claimed.shape) > MAX_DIMENSIONS:
        raise BadRequest(f"{what} {shown!r} has {len(claimed.shape)} dimensions, more than {MAX_DIMENSIONS}")
    size = ITEM_SIZES.get(claimed.data_type)
    needed = size * math.prod(claimed.shape) if size and claimed.shape and min(claimed.shape) >= 0 else -1
    if needed != sent:
        said = f"{_type_name(claimed.data_type)} {list(claimed.shape)}"
        told = f"{needed} bytes" if needed >= 0 else "nothing"
        raise BadRequest(f"{what} {shown!r} sent as {said} has {sent} bytes; such a tensor has {told}")
    return CapturedItem(shown, kind(m.DataType(claimed.data_type).name, claimed.shape), _data(tensor))


def kind(data_type: str, shape: Sequence[int]) -> str:
    """A tensor's observedContentType. A scalar is written with one dimension, which readers can take."""
    return f"Tensor[{data_type}; {', '.join(map(str, shape)) or '1'}]"


def _auxiliary(one: m.AuxilaryData) -> CapturedItem:
    try:
        encoding = m.Encoding(one.encoding).name
    except ValueError:
        raise BadRequest(f"auxiliary data {one.name[:100]!r}: {one.encoding} is no encoding") from None
    return CapturedItem(
        one.name[:MAX_TEXT_LENGTH], CONTENT_TYPES.get(encoding, "application/octet-stream"), _data(one), encoding
    )


def _check_amount(request: m.CaptureDataRequest, own: int) -> None:
    """own: bytes of the model's tensors. Raises: BadRequest."""
    parts = len(request.input_tensors) + len(request.output_tensors) + len(request.inputs) + len(request.outputs)
    if parts > MAX_ITEMS:
        raise BadRequest(f"{parts} tensors and auxiliary data were sent; a capture has {MAX_ITEMS} at most")
    sent: Iterable[m.Tensor | m.AuxilaryData]
    sent = chain(request.input_tensors, request.output_tensors, request.inputs, request.outputs)
    size = sum(_size(one) for one in sent)
    if size > own + MAX_EXTRA_BYTES:
        raise BadRequest(f"{size} bytes were sent; a capture of this model has {own + MAX_EXTRA_BYTES} at most")


def _size(one: m.Tensor | m.AuxilaryData) -> int:
    """Bytes, before any of them is copied."""
    if one.WhichOneof("data") == "shared_memory_handle":
        return one.shared_memory_handle.size
    return len(one.byte_data)


def _data(one: m.Tensor | m.AuxilaryData) -> bytes:
    """A copy: the client takes its segment back when the call returns."""
    if one.WhichOneof("data") == "shared_memory_handle":
        with attached_segment(one.shared_memory_handle) as view:
            return bytes(view)
    return one.byte_data


def _type_name(number: int) -> str:
    try:
        return m.DataType(number).name
    except ValueError:
        return f"type {number}"
