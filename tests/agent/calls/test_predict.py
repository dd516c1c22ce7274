"""Predictions: right answers, sloppy clients served, and every tensor that cannot be right refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_proto.shared_memory import SharedBuffer

Refusal = Callable[[Callable[..., object]], tuple[grpc.StatusCode, str]]
SIZE = 224 * 224 * 3


def predict(stub: AgentStub, *tensors: m.Tensor, name: str = "scenes") -> m.PredictResponse:
    return stub.Predict(m.PredictRequest(name=name, tensors=tensors))


def best(response: m.PredictResponse) -> tuple[int, int]:
    """Index and raw value of the largest of a classifier's uint8 outputs."""
    (tensor,) = response.tensors
    values = np.frombuffer(tensor.byte_data, np.uint8)
    return int(values.argmax()), int(values.max())


@pytest.mark.parametrize(("picture", "index", "confidence"), [("orange.png", 951, 0.816), ("cat_720p.jpg", 286, 0.729)])
def test_mobilenet_sees_what_is_in_the_photograph(
    stub: AgentStub,
    mobilenet: m.Model,
    photograph: Callable[[str], bytes],
    picture: str,
    index: int,
    confidence: float,
) -> None:
    found, raw = best(predict(stub, m.Tensor(byte_data=photograph(picture)), name=mobilenet.name))
    assert found == index
    assert raw / 255 == pytest.approx(confidence, abs=0.02)


def test_the_answer_is_the_runtime_s_own_to_the_byte(stub: AgentStub, scenes: m.Model, scenes_model: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (1, 224, 224, 3), np.uint8)
    interpreter = Interpreter(model_path=str(scenes_model), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    (tensor,) = predict(stub, m.Tensor(byte_data=picture.tobytes())).tensors
    assert tensor.byte_data == interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tobytes()
    assert tensor.tensor_metadata == scenes.output_tensor_metadatas[0]


def test_clients_at_the_same_time_each_get_their_own_answer(
    stub: AgentStub, mobilenet: m.Model, photograph: Callable[[str], bytes]
) -> None:
    pictures = [photograph(name) for name in ("orange.png", "cat_720p.jpg")] * 12
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda data: best(predict(stub, m.Tensor(byte_data=data), name=mobilenet.name))[0], pictures)
        )
    assert answers == [951, 286] * 12


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        m.TensorMetadata(),
        m.TensorMetadata(data_type=m.DataType.FLOAT32, shape=[1, 224, 224, 3]),
        m.TensorMetadata(data_type=m.DataType.UINT8, shape=[1, 3, 224, 224]),
        m.TensorMetadata(data_type=42, shape=[1, 257]),
    ],
    ids=["none", "empty", "uint8 called float32", "another layout", "a type of the future"],
)
def test_bytes_of_the_right_size_are_taken_whatever_is_claimed_about_them(
    stub: AgentStub, scenes: m.Model, metadata: m.TensorMetadata | None
) -> None:
    expected = predict(stub, m.Tensor(byte_data=bytes(SIZE)))
    if metadata is not None:
        named = m.TensorMetadata(name=scenes.input_tensor_metadatas[0].name)
        named.MergeFrom(metadata)
        assert predict(stub, m.Tensor(tensor_metadata=named, byte_data=bytes(SIZE))) == expected
    assert predict(stub, m.Tensor(tensor_metadata=metadata, byte_data=bytes(SIZE))) == expected


@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1, SIZE * 4])
def test_a_wrong_size_is_refused_with_both_sizes(stub: AgentStub, refused: Refusal, scenes: m.Model, size: int) -> None:
    tensor = m.Tensor(
        tensor_metadata=m.TensorMetadata(data_type=m.DataType.FLOAT32, shape=[1, 224, 224, 3]), byte_data=bytes(size)
    )
    code, text = refused(lambda: predict(stub, tensor))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert f"takes {SIZE} bytes, not {size}, sent as FLOAT32 [1, 224, 224, 3]" in text


def test_a_tensor_without_data_is_refused(stub: AgentStub, refused: Refusal, scenes: m.Model) -> None:
    assert refused(lambda: predict(stub, m.Tensor()))[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_an_input_that_the_model_does_not_have_is_refused(stub: AgentStub, refused: Refusal, scenes: m.Model) -> None:
    tensor = m.Tensor(tensor_metadata=m.TensorMetadata(name=b"other\xff"), byte_data=bytes(SIZE))
    code, text = refused(lambda: predict(stub, tensor))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "the model does not have an input named 'other\\xff'; it takes" in text


def test_too_few_and_too_many_inputs_are_refused(stub: AgentStub, refused: Refusal, scenes: m.Model) -> None:
    code, text = refused(lambda: predict(stub))
    assert (code, text.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "not sent")
    code, text = refused(lambda: predict(stub, *[m.Tensor(byte_data=bytes(SIZE))] * 2))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert text.endswith("was sent twice")


def test_a_message_of_any_sensible_size_gets_an_answer(stub: AgentStub, refused: Refusal, scenes: m.Model) -> None:
    code, text = refused(lambda: predict(stub, m.Tensor(byte_data=bytes(20 << 20))))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert f"not {20 << 20}" in text


def test_shared_memory_gives_the_same_answer_as_a_message(
    stub: AgentStub, mobilenet: m.Model, photograph: Callable[[str], bytes]
) -> None:
    buffer = SharedBuffer(SIZE)
    try:
        for name in ("orange.png", "cat_720p.jpg"):
            buffer.view[:] = photograph(name)
            by_handle = predict(stub, m.Tensor(shared_memory_handle=buffer.handle), name=mobilenet.name)
            assert by_handle == predict(stub, m.Tensor(byte_data=photograph(name)), name=mobilenet.name)
    finally:
        buffer.close()


def test_shared_memory_leaves_nothing_behind(stub: AgentStub, refused: Refusal, scenes: m.Model) -> None:
    buffer = SharedBuffer(SIZE)
    handle = buffer.handle
    predict(stub, m.Tensor(shared_memory_handle=handle))
    buffer.close()
    code, text = refused(lambda: predict(stub, m.Tensor(shared_memory_handle=handle)))
    assert (code, text) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        f"no such shared memory segment: {handle.segment_id}",
    )


@pytest.mark.parametrize("offset", [1, 2**64 - 1])
def test_a_handle_that_reaches_outside_its_segment_is_refused(
    stub: AgentStub, refused: Refusal, scenes: m.Model, offset: int
) -> None:
    buffer = SharedBuffer(SIZE)
    try:
        handle = m.SharedMemoryHandle(size=SIZE, offset=offset, segment_id=buffer.handle.segment_id)
        code, text = refused(lambda: predict(stub, m.Tensor(shared_memory_handle=handle)))
    finally:
        buffer.close()
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert text.endswith("is outside of it")


def test_a_handle_of_a_wrong_size_is_refused_with_both_sizes(
    stub: AgentStub, refused: Refusal, scenes: m.Model
) -> None:
    handle = m.SharedMemoryHandle(size=7, segment_id=0)
    code, text = refused(lambda: predict(stub, m.Tensor(shared_memory_handle=handle)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert f"takes {SIZE} bytes, not 7" in text


def test_a_segment_that_can_still_be_written_is_refused(
    stub: AgentStub, refused: Refusal, scenes: m.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A client that forgot the one step which makes a segment read-only.
    monkeypatch.setattr("emflow_proto.shared_memory._take_away_writing", lambda segment: None)
    buffer = SharedBuffer(SIZE)
    try:
        code, text = refused(lambda: predict(stub, m.Tensor(shared_memory_handle=buffer.handle)))
    finally:
        buffer.close()
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "is writable (mode 0600)" in text


def test_a_claim_of_any_length_gets_its_refusal(stub: AgentStub, refused: Refusal, scenes: m.Model) -> None:
    tensor = m.Tensor(tensor_metadata=m.TensorMetadata(shape=[-1] * 5000), byte_data=b"")
    code, text = refused(lambda: predict(stub, tensor))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "takes 150528 bytes, not 0, sent as" in text
