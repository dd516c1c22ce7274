"""What clients send, however odd: a capture that can be stored and read, or a refusal with a sentence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import emflow_schema
from emflow_agent.capture.jsonl import make_batch
from emflow_agent.capture.requests import CAPTURE_ID, MAX_EXTRA_BYTES, MAX_ITEMS, read_capture
from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.errors import BadRequest, Refused
from emflow_agent.tensors.spec import OPEN, TensorSpec
from emflow_proto import messages as m
from support import zip_strict

CONTRACT = Draft202012Validator(emflow_schema.load("capture"))
INPUTS = (TensorSpec(b"picture", np.dtype(np.uint8), (1, 4)), TensorSpec(b"\xff", np.dtype(np.float32), ()))
OUTPUTS = (TensorSpec(b"scores", np.dtype(np.uint8), (1, 3)),)
FOUND = TensorSpec(b"boxes", np.dtype(np.float32), (OPEN, OPEN))
NOW, NET = 1.7e9, "net"

INT32, UINT64 = st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**64 - 1)
HANDLE = st.builds(m.SharedMemoryHandle, size=UINT64, offset=UINT64, segment_id=UINT64)
NAMES = st.sampled_from([b"", b"picture", b"\xff", b"scores", b"other"])
METADATA = st.builds(m.TensorMetadata, name=NAMES, data_type=st.integers(0, 8), shape=st.lists(INT32, max_size=3))
TENSOR = st.one_of(
    st.builds(m.Tensor, tensor_metadata=METADATA, byte_data=st.binary(max_size=6)),
    st.builds(m.Tensor, tensor_metadata=METADATA, shared_memory_handle=HANDLE),
)
AUXILIARY = st.builds(m.AuxilaryData, name=st.text(max_size=5), encoding=st.integers(0, 5), byte_data=st.binary())
REQUEST = st.builds(
    m.CaptureDataRequest,
    model_name=st.just("net"),
    capture_id=st.one_of(st.uuids().map(str), st.text(max_size=40), st.from_regex(CAPTURE_ID, fullmatch=True)),
    inference_timestamp=st.one_of(
        st.none(), st.builds(m.Timestamp, seconds=st.integers(-(2**63), 2**63 - 1), nanos=INT32)
    ),
    input_tensors=st.lists(TENSOR, max_size=3),
    output_tensors=st.lists(TENSOR, max_size=2),
    inputs=st.lists(AUXILIARY, max_size=2),
)


def check(request: m.CaptureDataRequest) -> None:
    try:
        capture = read_capture(request, NET, INPUTS, OUTPUTS, NOW)
    except Refused:
        return
    (line,) = make_batch([capture], CaptureSettings(fleet="f", bucket="b"), NOW).lines.splitlines()
    CONTRACT.validate(json.loads(line))
    for entry, sent in zip_strict(json.loads(line)["deviceFleetInputs"], request.input_tensors):
        assert entry["observedContentType"].startswith("Tensor[")
        assert len(sent.byte_data) == len(capture.inputs[0].data) or len(request.input_tensors) > 1


@given(REQUEST)
@settings(max_examples=400, deadline=None)
def test_odd_fields(request: m.CaptureDataRequest) -> None:
    check(request)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_odd_bytes(data: bytes) -> None:
    try:
        request = m.CaptureDataRequest.FromString(data)
    except DecodeError:
        return  # gRPC answers that
    check(request)


def large(count: int, size: int) -> m.CaptureDataRequest:
    handle = m.SharedMemoryHandle(size=size, segment_id=0)
    parts = [m.AuxilaryData(name="a", encoding=m.Encoding.NONE, shared_memory_handle=handle) for _ in range(count)]
    return m.CaptureDataRequest(model_name="net", capture_id="0" * 32, inputs=parts)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (large(1, 1 << 40), "bytes; a capture of this model may have at most"),
        (large(65, 1 << 20), "bytes; a capture of this model may have at most"),
        (large(MAX_ITEMS + 1, 0), f"{MAX_ITEMS + 1} tensors and auxiliary data items"),
    ],
)
def test_more_than_can_be_kept_is_refused_before_it_is_copied(request_: m.CaptureDataRequest, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        read_capture(request_, NET, INPUTS, OUTPUTS, NOW)


def test_shared_memory_of_another_size_than_the_tensor_s_is_not_even_looked_at() -> None:
    handle = m.SharedMemoryHandle(size=1 << 20, segment_id=2**40)
    sent = m.Tensor(tensor_metadata=m.TensorMetadata(name=b"picture"), shared_memory_handle=handle)
    request = m.CaptureDataRequest(model_name="net", capture_id="0" * 32, input_tensors=[sent])
    with pytest.raises(BadRequest, match="has 4 bytes, not 1048576"):
        read_capture(request, NET, INPUTS, OUTPUTS, NOW)


def found(data: bytes, **metadata: Any) -> m.CaptureDataRequest:
    sent = m.Tensor(tensor_metadata=m.TensorMetadata(**metadata), byte_data=data)
    return m.CaptureDataRequest(model_name="net", capture_id="0" * 32, output_tensors=[sent])


@pytest.mark.parametrize(
    ("data", "metadata", "kind"),
    [
        (bytes(32), {"data_type": m.DataType.FLOAT32, "shape": [2, 4]}, "Tensor[FLOAT32; 2, 4]"),
        (b"", {"data_type": m.DataType.FLOAT32, "shape": [0, 4]}, "Tensor[FLOAT32; 0, 4]"),
        (bytes(32), {}, "Tensor[FLOAT32; 8]"),
        (bytes(4), {"name": b"mine"}, "Tensor[UINT8; 4]"),
    ],
    ids=["two", "none", "without metadata", "not the model's"],
)
@pytest.mark.parametrize("name", [b"", b"boxes"])
def test_an_output_of_open_size_is_captured_as_it_was_sent(
    data: bytes, metadata: dict[str, Any], kind: str, name: bytes
) -> None:
    (item,) = read_capture(found(data, **{"name": name, **metadata}), NET, INPUTS, [FOUND], NOW).outputs
    assert (item.content_type, item.data) == (kind, data)


@pytest.mark.parametrize("shape", [[3, 4], [OPEN, 4]])
def test_an_output_of_open_size_has_as_many_bytes_as_its_shape_says(shape: list[int]) -> None:
    with pytest.raises(BadRequest, match=r"'boxes' sent as FLOAT32 .* has 32 bytes; such a tensor has"):
        read_capture(
            found(bytes(32), name=b"boxes", data_type=m.DataType.FLOAT32, shape=shape), NET, INPUTS, [FOUND], NOW
        )


def test_an_output_of_open_size_leaves_the_limit_of_a_capture_as_it_is() -> None:
    with pytest.raises(BadRequest, match=f"may have at most {MAX_EXTRA_BYTES + 8}$"):
        read_capture(large(65, 1 << 20), NET, INPUTS, [FOUND], NOW)
