"""Every status code that CaptureData and GetCaptureDataStatus answer with, provoked."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from agent.capture.conftest import PICTURE, request, status
from agent.capture.s3_proxy import S3Proxy, StoredCaptures
from emflow_agent.capture.settings import CaptureSettings
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_proto.shared_memory import SharedBuffer
from support import until

Agent = Callable[..., AgentStub]
Refusal = Callable[[Callable[..., object]], tuple[grpc.StatusCode, str]]
Code = grpc.StatusCode


@pytest.fixture
def disk(agent: Agent, tmp_path: Path) -> AgentStub:
    """A client of an agent that writes to disk."""
    return agent(to_cloud=False, folder=tmp_path / "disk")


def test_a_capture_id_is_good_once_in_whatever_spelling(disk: AgentStub, refused: Refusal) -> None:
    sent = request(capture_id="0A1B2C3D-0000-4000-8000-00000000000F")
    disk.CaptureData(sent)
    for again in (sent.capture_id, sent.capture_id.lower(), sent.capture_id.replace("-", "")):
        code, text = refused(lambda again=again: disk.CaptureData(request(capture_id=again)))
        assert code == Code.ALREADY_EXISTS
        assert again in text
    until(lambda: status(disk, sent.capture_id.lower()) == m.CaptureDataStatus.SUCCESS)


@pytest.mark.parametrize(
    "wrong", ["", ".", "..", "a/b", "../../etc/passwd", "a b", "-rf", "a\n", "a\0", "$(a)", "é", "é" * 2000, "a" * 129]
)
def test_a_capture_id_that_can_be_no_name(disk: AgentStub, refused: Refusal, wrong: str) -> None:
    assert refused(lambda: disk.CaptureData(request(capture_id=wrong)))[0] == Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "right",
    ["capture1700000000", "7", "0a1b2c3d-0000-4000-8000-00000000000g", "2026-01-31T10:00:00.5+01:00", "a" * 128],
)
def test_a_capture_id_that_is_a_name_and_no_uuid(disk: AgentStub, refused: Refusal, right: str) -> None:
    disk.CaptureData(request(capture_id=right))
    until(lambda: status(disk, right) == m.CaptureDataStatus.SUCCESS)
    assert refused(lambda: disk.CaptureData(request(capture_id=right)))[0] == Code.ALREADY_EXISTS


def test_names_that_are_no_uuids_differ_by_each_of_their_characters(disk: AgentStub) -> None:
    for different in ("capture-1", "capture1", "Capture1", "ca-pture1"):
        disk.CaptureData(request(capture_id=different))


def test_a_model_that_is_not_loaded(disk: AgentStub, refused: Refusal) -> None:
    code, text = refused(lambda: disk.CaptureData(request(name="other")))
    assert (code, "other" in text) == (Code.NOT_FOUND, True)


def test_a_capture_that_was_never_handed_over(disk: AgentStub, refused: Refusal) -> None:
    asked = m.GetCaptureDataStatusRequest(capture_id=str(uuid.uuid4()))
    assert refused(lambda: disk.GetCaptureDataStatus(asked))[0] == Code.NOT_FOUND


def test_an_inference_that_is_still_to_come(disk: AgentStub, refused: Refusal) -> None:
    # Milliseconds where seconds should be, a usual mistake.
    late = m.Timestamp(seconds=1_700_000_000_000)
    code, text = refused(lambda: disk.CaptureData(request(inference_timestamp=late)))
    assert (code, "future" in text) == (Code.OUT_OF_RANGE, True)


@pytest.mark.parametrize(("seconds", "nanos"), [(-1, 0), (1, -1), (1, 1_000_000_000)])
def test_a_time_that_is_none(disk: AgentStub, refused: Refusal, seconds: int, nanos: int) -> None:
    stamp = m.Timestamp(seconds=seconds, nanos=nanos)
    assert refused(lambda: disk.CaptureData(request(inference_timestamp=stamp)))[0] == Code.INVALID_ARGUMENT


def tensor(data: bytes, name: bytes = b"", shape: tuple[int, ...] = (), data_type: int = 0) -> m.Tensor:
    return m.Tensor(tensor_metadata=m.TensorMetadata(name=name, shape=shape, data_type=data_type), byte_data=data)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ([tensor(b"1234")], f"{PICTURE} bytes, not 4"),
        ([tensor(b"1234", b"mine", (1, 5))], "has 4 bytes; such a tensor has 5"),
        ([tensor(b"1234", b"mine", (-2, -2))], "has 4 bytes"),
        ([tensor(b"1234", b"mine", (4,), 42)], "type 42"),
        ([], "nothing to capture"),
    ],
)
def test_tensors_that_cannot_be_what_they_are_said_to_be(
    disk: AgentStub, refused: Refusal, tensors: list[m.Tensor], said: str
) -> None:
    code, text = refused(lambda: disk.CaptureData(request(input_tensors=tensors)))
    assert (code, said in text) == (Code.INVALID_ARGUMENT, True), text


def test_an_encoding_that_nobody_knows(disk: AgentStub, refused: Refusal) -> None:
    odd = m.AuxilaryData(name="a", encoding=9, byte_data=b"")
    assert refused(lambda: disk.CaptureData(request(inputs=[odd])))[0] == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("change", [{"offset": 1}, {"size": PICTURE + 1}, {"segment_id": 2**40}])
def test_shared_memory_that_is_not_there(disk: AgentStub, refused: Refusal, change: dict[str, int]) -> None:
    buffer = SharedBuffer(PICTURE)
    handle = buffer.handle
    for name, value in change.items():
        setattr(handle, name, value)
    sent = request(input_tensors=[m.Tensor(shared_memory_handle=handle)])
    assert refused(lambda: disk.CaptureData(sent))[0] == Code.INVALID_ARGUMENT
    buffer.close()


def test_a_refused_capture_may_be_tried_again_under_its_id(disk: AgentStub, refused: Refusal) -> None:
    sent = request(b"too short")
    refused(lambda: disk.CaptureData(sent))
    disk.CaptureData(request(capture_id=sent.capture_id))


def test_a_full_buffer_refuses_at_once_and_predictions_go_on(
    agent: Agent, network: S3Proxy, bucket: StoredCaptures, refused: Refusal
) -> None:
    stub = agent(bucket=bucket.name, batch=2, buffer=5, push_period=60.0)
    network.delay = 0.2
    for _ in range(5):
        stub.CaptureData(request())
    sent = request()
    code, text = refused(lambda: stub.CaptureData(sent))
    assert (code, "5" in text) == (Code.RESOURCE_EXHAUSTED, True)
    stub.Predict(m.PredictRequest(name="scenes", tensors=[m.Tensor(byte_data=bytes(PICTURE))]))
    network.delay = 0.0
    # Room again when a batch is stored; then the very same capture is taken.
    until(lambda: len(bucket.lines()) >= 2)
    stub.CaptureData(sent)


def test_a_buffer_is_full_by_bytes_too(agent: Agent, tmp_path: Path, refused: Refusal) -> None:
    stub = agent(to_cloud=False, folder=tmp_path / "disk", buffer_bytes=2 * PICTURE, push_period=60.0)
    stub.CaptureData(request())
    stub.CaptureData(request())
    code, text = refused(lambda: stub.CaptureData(request()))
    assert code == Code.RESOURCE_EXHAUSTED
    assert text == (
        f"2 captures of {2 * PICTURE} bytes are waiting to be stored, and {PICTURE} more exceed the {2 * PICTURE} "
        "bytes of the buffer"
    )


def test_a_full_buffer_knows_the_captures_that_it_has(agent: Agent, tmp_path: Path, refused: Refusal) -> None:
    stub = agent(to_cloud=False, folder=tmp_path / "disk", batch=3, buffer=4, push_period=60.0, buffer_bytes=PICTURE)
    sent = request()
    stub.CaptureData(sent)
    assert refused(lambda: stub.CaptureData(request()))[0] == Code.RESOURCE_EXHAUSTED
    assert refused(lambda: stub.CaptureData(sent))[0] == Code.ALREADY_EXISTS


def test_without_network_or_a_folder_captures_are_refused_until_it_is_back(
    agent: Agent, network: S3Proxy, bucket: StoredCaptures, refused: Refusal
) -> None:
    stub = agent(bucket=bucket.name)
    network.down()
    first = request()
    stub.CaptureData(first)

    def offline() -> bool:
        try:
            stub.CaptureData(request())
        except grpc.RpcError as refusal:
            return refusal.code() == Code.FAILED_PRECONDITION
        return False

    until(offline)
    assert status(stub, first.capture_id) == m.CaptureDataStatus.IN_PROGRESS
    network.up()
    until(lambda: status(stub, first.capture_id) == m.CaptureDataStatus.SUCCESS)
    last = request()
    stub.CaptureData(last)
    until(lambda: {first.capture_id, last.capture_id} <= set(bucket.events()))
    assert len(bucket.events()) == len(set(bucket.events()))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fleet": ""}, "DeviceFleetName"),
        ({"bucket": ""}, "BucketName"),
        ({"to_cloud": False}, "CaptureDataDiskPath"),
        ({"to_cloud": False, "folder": Path("/proc/nowhere")}, "/proc/nowhere"),
    ],
)
def test_without_a_place_captures_are_refused_and_predictions_go_on(
    agent: Agent, refused: Refusal, settings: dict[str, Any], said: str
) -> None:
    stub = agent(**settings)
    code, text = refused(lambda: stub.CaptureData(request()))
    assert (code, said in text) == (Code.FAILED_PRECONDITION, True), text
    assert stub.Predict(m.PredictRequest(name="scenes", tensors=[m.Tensor(byte_data=bytes(PICTURE))])).tensors


def test_a_bucket_that_is_not_there_is_a_failure_with_the_reason_reported_once(
    agent: Agent, network: S3Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    stub = agent(bucket="sagemaker-not-there")
    for _ in range(3):
        sent = request()
        stub.CaptureData(sent)
        until(lambda sent=sent: status(stub, sent.capture_id) == m.CaptureDataStatus.FAILURE)
    told = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert len(told) == 1
    assert "NoSuchBucket" in told[0]


@pytest.mark.parametrize("wrong", [{"prefix": "a/../b"}, {"fleet": "a/b"}, {"batch": 30}, {"embed_limit": 3073}])
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must not|must be|cannot"):
        CaptureSettings(**wrong)
