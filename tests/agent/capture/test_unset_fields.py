"""Clients that never set a field: what its default means, as proto3 cannot tell 0 or empty from "not set"."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from agent.capture.conftest import PICTURE, request
from emflow_agent.models.store import FIRST_HANDLE
from emflow_agent.tensors.spec import inputs_in_order, make_spec
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_proto.shared_memory import SharedBuffer
from support import until

Agent = Callable[..., AgentStub]
Refusal = Callable[[Callable[..., object]], tuple[grpc.StatusCode, str]]
Code = grpc.StatusCode


@pytest.fixture
def stub(agent: Agent, tmp_path: Path) -> AgentStub:
    """A client of an agent that writes to disk, with `scenes` loaded."""
    return agent(to_cloud=False, folder=tmp_path / "disk", batch=1)


@pytest.fixture
def buffer() -> Iterator[SharedBuffer]:
    """A segment that has exactly one picture."""
    made = SharedBuffer(PICTURE)
    made.view[:] = np.random.default_rng(3).integers(0, 256, PICTURE, np.uint8).tobytes()
    yield made
    made.close()


def bare(buffer: SharedBuffer, **more: int) -> m.SharedMemoryHandle:
    """What old clients send of a handle: the segment's number alone."""
    return m.SharedMemoryHandle(segment_id=buffer.handle.segment_id, **more)


def stored(tmp_path: Path) -> dict[str, Any]:
    """The line of the one capture on disk."""
    until(lambda: list((tmp_path / "disk").rglob("*.jsonl")))
    (file,) = (tmp_path / "disk").rglob("*.jsonl")
    line: dict[str, Any] = json.loads(file.read_text())
    return line


def test_a_handle_without_a_size_means_as_many_bytes_as_the_model_takes(stub: AgentStub, buffer: SharedBuffer) -> None:
    by_message = m.PredictRequest(name="scenes", tensors=[m.Tensor(byte_data=bytes(buffer.view))])
    by_handle = m.PredictRequest(name="scenes", tensors=[m.Tensor(shared_memory_handle=bare(buffer))])
    assert stub.Predict(by_handle) == stub.Predict(by_message)


def test_a_segment_may_be_larger_than_the_tensor_in_it(stub: AgentStub) -> None:
    large = SharedBuffer(2 * PICTURE + 5)
    for offset in (0, 5, PICTURE + 5):
        handle = bare(large, offset=offset)
        stub.Predict(m.PredictRequest(name="scenes", tensors=[m.Tensor(shared_memory_handle=handle)]))
    large.close()


def test_a_segment_without_a_size_has_to_hold_the_tensor(
    stub: AgentStub, refused: Refusal, buffer: SharedBuffer
) -> None:
    tensor = m.Tensor(shared_memory_handle=bare(buffer, offset=1))
    for call, asked in (
        (stub.Predict, m.PredictRequest(name="scenes", tensors=[tensor])),
        (stub.CaptureData, request(input_tensors=[tensor])),
    ):
        code, text = refused(lambda call=call, asked=asked: call(asked))
        assert code == Code.INVALID_ARGUMENT
        assert f"has {PICTURE} bytes; {PICTURE} from offset 1 on is outside of it" in text


@pytest.mark.parametrize("name", [b"", b"serving_default_input:0", b"what the client calls it"])
def test_a_captured_tensor_without_a_size_is_the_model_s(
    stub: AgentStub, buffer: SharedBuffer, tmp_path: Path, name: bytes
) -> None:
    metadata = m.TensorMetadata(name=name, shape=[1, 224, 224, 3])
    stub.CaptureData(request(input_tensors=[m.Tensor(tensor_metadata=metadata, shared_memory_handle=bare(buffer))]))
    (entry,) = stored(tmp_path)["deviceFleetInputs"]
    assert entry["observedContentType"] == "Tensor[UINT8; 1, 224, 224, 3]"
    assert Path(entry["dataRef"]).read_bytes() == bytes(buffer.view)


def test_a_further_captured_tensor_without_a_size_is_as_large_as_it_says(stub: AgentStub, tmp_path: Path) -> None:
    segment = SharedBuffer(100)
    segment.view[:] = bytes(range(100))
    says = m.TensorMetadata(name=b"mine", data_type=m.DataType.INT16, shape=[5, 4])
    tensors = [
        m.Tensor(byte_data=bytes(PICTURE)),
        m.Tensor(tensor_metadata=says, shared_memory_handle=bare(segment, offset=10)),
    ]
    stub.CaptureData(request(input_tensors=tensors))
    entry = stored(tmp_path)["deviceFleetInputs"][1]
    assert entry["observedContentType"] == "Tensor[INT16; 5, 4]"
    assert m.Tensor(byte_data=bytes(range(10, 50))).byte_data == _data_of(entry)
    segment.close()


@pytest.mark.parametrize(
    ("data_type", "kind"), [(m.DataType.UINT8, "Tensor[UINT8; 8]"), (m.DataType.FLOAT32, "Tensor[FLOAT32; 2]")]
)
@pytest.mark.parametrize("shared", [True, False])
def test_a_further_captured_tensor_without_a_shape_has_one_dimension(
    stub: AgentStub, tmp_path: Path, data_type: m.DataType, kind: str, shared: bool
) -> None:
    segment = SharedBuffer(8)
    segment.view[:] = b"abcdefgh"
    metadata = m.TensorMetadata(name=b"mine", data_type=data_type)
    tensor = m.Tensor(tensor_metadata=metadata, byte_data=b"abcdefgh")
    if shared:
        tensor = m.Tensor(tensor_metadata=metadata, shared_memory_handle=bare(segment))
    stub.CaptureData(request(input_tensors=[m.Tensor(byte_data=bytes(PICTURE)), tensor]))
    entry = stored(tmp_path)["deviceFleetInputs"][1]
    assert (entry["observedContentType"], _data_of(entry)) == (kind, b"abcdefgh")
    segment.close()


def test_auxiliary_data_without_a_size_are_the_rest_of_the_segment(
    stub: AgentStub, refused: Refusal, tmp_path: Path
) -> None:
    segment = SharedBuffer(8)
    segment.view[:] = b"a,b\n1,2\n"
    note = m.AuxilaryData(name="note", shared_memory_handle=bare(segment, offset=4))
    stub.CaptureData(request(inputs=[note]))
    (entry,) = stored(tmp_path)["auxiliaryInputs"]
    # The encoding was not set either: 0 is CSV.
    assert (entry["encoding"], entry["data"]) == ("CSV", "1,2\n")
    note.shared_memory_handle.offset = 9
    assert refused(lambda: stub.CaptureData(request(inputs=[note])))[0] == Code.INVALID_ARGUMENT
    segment.close()


def test_segments_without_a_size_count_with_all_that_would_be_copied(stub: AgentStub, refused: Refusal) -> None:
    segment = SharedBuffer(1 << 20)
    notes = [m.AuxilaryData(name="note", shared_memory_handle=bare(segment)) for _ in range(1000)]
    code, text = refused(lambda: stub.CaptureData(request(inputs=notes)))
    assert (code, "a capture of this model may have at most" in text) == (Code.INVALID_ARGUMENT, True)
    segment.close()


def _data_of(entry: dict[str, Any]) -> bytes:
    import base64

    return base64.b64decode(entry["data"])


@pytest.mark.parametrize("stamp", [None, m.Timestamp()], ids=["left out", "empty"])
def test_a_capture_without_a_time_is_of_now(stub: AgentStub, tmp_path: Path, stamp: m.Timestamp | None) -> None:
    before = time.time()
    stub.CaptureData(request(inference_timestamp=stamp))
    said = stored(tmp_path)["eventMetadata"]["inferenceTime"]
    assert before - 1 <= datetime.fromisoformat(said.replace("Z", "+00:00")).timestamp() <= time.time()


def test_several_inputs_without_names_are_in_the_order_of_the_model() -> None:
    specs = [make_spec(b"image", np.uint8, [1, 2, 2, 3]), make_spec(b"scale", np.float32, [1])]
    sent = [m.Tensor(byte_data=b"image"), m.Tensor(byte_data=b"scale", tensor_metadata=m.TensorMetadata(shape=[1]))]
    assert inputs_in_order(specs, sent) == sent


def test_a_model_without_a_handle_is_given_one_that_is_its_own(stub: AgentStub, tmp_path: Path) -> None:
    (scenes,) = stub.ListModels(m.ListModelsRequest()).models
    other = stub.LoadModel(m.LoadModelRequest(url=str(tmp_path / "scenes"), name="other")).model
    assert FIRST_HANDLE <= scenes.handle < other.handle
    for model in (scenes, other):
        assert stub.DescribeModel(m.DescribeModelRequest(handle=model.handle)).model == model
        assert stub.DescribeModel(m.DescribeModelRequest(name=model.name)).model == model


@pytest.mark.parametrize("name", ["", "mine"])
@pytest.mark.parametrize("handle", [1, -1, 2**31 - 1, FIRST_HANDLE + 1])
def test_a_handle_names_a_model_wherever_a_name_can(
    stub: AgentStub, refused: Refusal, tmp_path: Path, name: str, handle: int
) -> None:
    url = str(tmp_path / "scenes")
    model = stub.LoadModel(m.LoadModelRequest(url=url, name=name, handle=handle)).model
    assert (model.handle, model.name) == (handle, name or f"handle-{handle}")
    picture = [m.Tensor(byte_data=bytes(PICTURE))]
    by_name = stub.Predict(m.PredictRequest(name=model.name, tensors=picture))
    assert stub.Predict(m.PredictRequest(handle=handle, tensors=picture)) == by_name
    assert stub.DescribeModel(m.DescribeModelRequest(handle=handle)).model == model
    code, text = refused(lambda: stub.LoadModel(m.LoadModelRequest(url=url, name="another", handle=handle)))
    assert (code, model.name in text) == (Code.ALREADY_EXISTS, True)
    assert refused(lambda: stub.LoadModel(m.LoadModelRequest(url=url, name=name, handle=handle)))[0] == code
    # Another model gets no handle that is taken.
    assert stub.LoadModel(m.LoadModelRequest(url=url, name="another")).model.handle != handle
    stub.CaptureData(request(name="", model_handle=handle))
    assert stored(tmp_path)["eventMetadata"]["modelName"] == model.name
    stub.UnLoadModel(m.UnLoadModelRequest(handle=handle))
    for call, asked in (
        (stub.Predict, m.PredictRequest(handle=handle, tensors=picture)),
        (stub.UnLoadModel, m.UnLoadModelRequest(handle=handle)),
        (stub.CaptureData, request(name="", model_handle=handle)),
    ):
        code, text = refused(lambda call=call, asked=asked: call(asked))
        assert (code, f"no model with handle {handle} is loaded" in text) == (Code.NOT_FOUND, True)


def test_a_name_counts_where_both_are_set(stub: AgentStub, tmp_path: Path, refused: Refusal) -> None:
    stub.LoadModel(m.LoadModelRequest(url=str(tmp_path / "scenes"), name="other", handle=5))
    described = stub.DescribeModel(m.DescribeModelRequest(name="scenes", handle=5)).model
    assert described.name == "scenes"
    assert refused(lambda: stub.DescribeModel(m.DescribeModelRequest(name="none", handle=5)))[0] == Code.NOT_FOUND


def test_neither_name_nor_handle_is_refused(stub: AgentStub, refused: Refusal, tmp_path: Path) -> None:
    load = m.LoadModelRequest(url=str(tmp_path / "scenes"))
    assert refused(lambda: stub.LoadModel(load))[0] == Code.INVALID_ARGUMENT
    assert refused(lambda: stub.DescribeModel(m.DescribeModelRequest()))[0] == Code.NOT_FOUND
    assert refused(lambda: stub.UnLoadModel(m.UnLoadModelRequest()))[0] == Code.NOT_FOUND
