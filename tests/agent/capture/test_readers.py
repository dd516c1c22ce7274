"""What is written, read as the programs do that read what the original agent wrote."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import emflow_schema
from agent.capture.conftest import DEVICE, FLEET, PICTURE, request, status
from agent.capture.s3_proxy import S3Proxy, StoredCaptures
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_proto.shared_memory import SharedBuffer
from support import until

KEY = re.compile(rf"sme-capture/{FLEET}/scenes/(\d{{4}}/\d\d/\d\d/\d\d)/[0-9a-f]{{32}}\.jsonl")
NUMPY = {"FLOAT32": np.float32, "UINT8": np.uint8}
Agent = Callable[..., AgentStub]


def line_of(file: Path) -> dict[str, Any]:
    """The first line, after a look at the published contract."""
    line: dict[str, Any] = json.loads(file.read_text().splitlines()[0])
    jsonschema.validate(line, emflow_schema.load("capture"))
    return line


def first_tensor(jsonl: str) -> np.ndarray:
    """As the known consumers do it."""
    line = json.loads(jsonl.splitlines()[0])
    tensor = line["deviceFleetInputs"][0]
    found = re.match(r"Tensor\[(\w+); (\d+), (\d+), (\d+), (\d+)\]", tensor["observedContentType"])
    assert found
    data = base64.b64decode(tensor["data"])
    return np.frombuffer(data, NUMPY[found[1]]).reshape(*map(int, found.groups()[1:]))


def small(values: np.ndarray) -> m.Tensor:
    metadata = m.TensorMetadata(name=b"features", data_type=m.DataType.FLOAT32, shape=values.shape)
    return m.Tensor(tensor_metadata=metadata, byte_data=values.tobytes())


def written(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jsonl"))


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(4).random((1, 6, 10, 10), np.float32)


def test_a_consumer_reads_the_first_tensor_of_an_object_in_s3(
    agent: Agent, network: S3Proxy, bucket: StoredCaptures, features: np.ndarray
) -> None:
    stub = agent(bucket=bucket.name)
    sent = request(input_tensors=[small(features)])
    stub.CaptureData(sent)
    until(lambda: status(stub, sent.capture_id) == m.CaptureDataStatus.SUCCESS)
    (key,) = bucket.keys()
    assert KEY.fullmatch(key)
    assert np.array_equal(first_tensor(bucket.read(key).decode()), features)


def test_a_consumer_reads_the_first_tensor_of_a_file(agent: Agent, tmp_path: Path, features: np.ndarray) -> None:
    stub = agent(to_cloud=False, folder=tmp_path / "disk")
    before = datetime.now(timezone.utc)
    stub.CaptureData(request(input_tensors=[small(features)]))
    until(lambda: written(tmp_path / "disk"))
    (file,) = written(tmp_path / "disk")
    key = KEY.fullmatch(str(file.relative_to(tmp_path / "disk")))
    assert key
    assert key[1] in {f"{moment:%Y/%m/%d/%H}" for moment in (before, datetime.now(timezone.utc))}
    assert np.array_equal(first_tensor(file.read_text()), features)


def test_a_line_says_whose_it_is_and_when_the_inference_was(agent: Agent, tmp_path: Path) -> None:
    stub = agent(to_cloud=False, folder=tmp_path / "disk")
    stamp = m.Timestamp(seconds=1_600_000_000, nanos=250_000_000)
    sent = request(inference_timestamp=stamp, capture_id=str(uuid.uuid4()).upper())
    stub.CaptureData(sent)
    until(lambda: written(tmp_path / "disk"))
    assert line_of(written(tmp_path / "disk")[0])["eventMetadata"] == {
        "deviceId": DEVICE,
        "deviceFleetName": FLEET,
        "modelName": "scenes",
        "eventId": sent.capture_id,
        "inferenceTime": "2020-09-13T12:26:40.250Z",
    }


def test_a_batch_is_one_object_with_a_line_a_capture_in_order(agent: Agent, tmp_path: Path) -> None:
    stub = agent(to_cloud=False, folder=tmp_path / "disk", push_period=60.0)
    ids = []
    for _ in range(6):
        sent = request()
        stub.CaptureData(sent)
        ids.append(sent.capture_id)
    until(lambda: len(written(tmp_path / "disk")) == 2)
    batches = [
        [json.loads(line)["eventMetadata"]["eventId"] for line in file.read_text().splitlines()]
        for file in sorted(written(tmp_path / "disk"), key=lambda file: file.stat().st_mtime_ns)
    ]
    assert batches == [ids[:3], ids[3:]]


def test_a_large_tensor_is_an_object_of_its_own_that_the_line_refers_to(
    agent: Agent, network: S3Proxy, bucket: StoredCaptures
) -> None:
    stub = agent(bucket=bucket.name)
    picture = np.random.default_rng(5).integers(0, 256, PICTURE, np.uint8).tobytes()
    sent = request(picture)
    stub.CaptureData(sent)
    until(lambda: status(stub, sent.capture_id) == m.CaptureDataStatus.SUCCESS)
    (key,) = bucket.lines()
    (entry,) = json.loads(bucket.read(key))["deviceFleetInputs"]
    assert "data" not in entry
    assert entry["observedContentType"] == "Tensor[UINT8; 1, 224, 224, 3]"
    folder = key.rpartition("/")[0]
    assert entry["dataRef"].startswith(f"s3://{bucket.name}/{folder}/raw-data/input-tensors/")
    assert bucket.read(entry["dataRef"].removeprefix(f"s3://{bucket.name}/")) == picture


def test_on_disk_a_large_tensor_is_a_file_of_its_own(agent: Agent, tmp_path: Path) -> None:
    stub = agent(to_cloud=False, folder=tmp_path / "disk")
    out = m.Tensor(byte_data=bytes(range(10)))
    stub.CaptureData(request(b"\7" * PICTURE, output_tensors=[out]))
    until(lambda: written(tmp_path / "disk"))
    line = line_of(written(tmp_path / "disk")[0])
    assert Path(line["deviceFleetInputs"][0]["dataRef"]).read_bytes() == b"\7" * PICTURE
    assert base64.b64decode(line["deviceFleetOutputs"][0]["data"]) == bytes(range(10))


@pytest.mark.parametrize(("size", "embedded"), [(3072, True), (3073, False)])
def test_up_to_the_limit_a_tensor_stands_in_the_line(agent: Agent, tmp_path: Path, size: int, embedded: bool) -> None:
    stub = agent(to_cloud=False, folder=tmp_path / "disk")
    metadata = m.TensorMetadata(name=b"mine", data_type=m.DataType.UINT8, shape=[size])
    stub.CaptureData(request(input_tensors=[m.Tensor(tensor_metadata=metadata, byte_data=bytes(size))]))
    until(lambda: written(tmp_path / "disk"))
    assert ("data" in line_of(written(tmp_path / "disk")[0])["deviceFleetInputs"][0]) == embedded


def test_tensors_out_of_shared_memory_are_copied_before_the_call_returns(agent: Agent, tmp_path: Path) -> None:
    stub = agent(to_cloud=False, folder=tmp_path / "disk", push_period=0.5)
    buffer = SharedBuffer(PICTURE)
    buffer.view[:] = b"\5" * PICTURE
    label = SharedBuffer(5)
    label.view[:] = b"a,b,c"
    sent = request(
        input_tensors=[m.Tensor(shared_memory_handle=buffer.handle)],
        inputs=[m.AuxilaryData(name="words", encoding=m.Encoding.CSV, shared_memory_handle=label.handle)],
    )
    stub.CaptureData(sent)
    for one in (buffer, label):
        one.view[:] = bytes(one.size)
        one.close()
    segments = Path("/proc/sysvipc/shm").read_text()
    assert not {str(one.handle.segment_id) for one in (buffer, label)} & {
        line.split()[1] for line in segments.splitlines()[1:]
    }
    until(lambda: written(tmp_path / "disk"))
    line = line_of(written(tmp_path / "disk")[0])
    assert Path(line["deviceFleetInputs"][0]["dataRef"]).read_bytes() == b"\5" * PICTURE
    assert line["auxiliaryInputs"] == [
        {"name": "words", "observedContentType": "text/csv", "encoding": "CSV", "data": "a,b,c"}
    ]


@pytest.mark.parametrize(
    ("encoding", "data", "kind", "told", "text"),
    [
        (m.Encoding.JSON, '{"a": "ü"}'.encode(), "application/json", "JSON", '{"a": "ü"}'),
        (m.Encoding.CSV, b"1,2\n", "text/csv", "CSV", "1,2\n"),
        (m.Encoding.CSV, b"\xff", "text/csv", "BASE64", "/w=="),
        (m.Encoding.NONE, b"\0\1", "application/octet-stream", "BASE64", "AAE="),
        (m.Encoding.BASE64, b"AAE=", "application/octet-stream", "BASE64", "AAE="),
        (m.Encoding.BASE64, b"\0\1", "application/octet-stream", "BASE64", "AAE="),
    ],
    ids=["JSON", "CSV", "CSV that is no text", "NONE", "BASE64", "BASE64 that is none yet"],
)
def test_auxiliary_data_say_how_they_are_written(
    agent: Agent, tmp_path: Path, encoding: m.Encoding, data: bytes, kind: str, told: str, text: str
) -> None:
    stub = agent(to_cloud=False, folder=tmp_path / "disk")
    stub.CaptureData(request(outputs=[m.AuxilaryData(name="more", encoding=encoding, byte_data=data)]))
    until(lambda: written(tmp_path / "disk"))
    (entry,) = line_of(written(tmp_path / "disk")[0])["auxiliaryOutputs"]
    assert entry == {"name": "more", "observedContentType": kind, "encoding": told, "data": text}


def test_the_workshop_s_wrong_shape_gives_way_to_the_model_s_own(agent: Agent, tmp_path: Path) -> None:
    stub = agent(to_cloud=False, folder=tmp_path / "disk")
    model = stub.DescribeModel(m.DescribeModelRequest(name="scenes")).model
    out = model.output_tensor_metadatas[0]
    wrong = m.TensorMetadata(name=out.name, data_type=m.DataType.FLOAT32, shape=[1, 257])
    claimed = m.TensorMetadata(name=b"input", data_type=m.DataType.FLOAT32, shape=[224, 224, 3])
    stub.CaptureData(
        request(
            input_tensors=[m.Tensor(tensor_metadata=claimed, byte_data=bytes(PICTURE))],
            output_tensors=[m.Tensor(tensor_metadata=wrong, byte_data=bytes(out.shape[-1]))],
        )
    )
    until(lambda: written(tmp_path / "disk"))
    line = line_of(written(tmp_path / "disk")[0])
    assert line["deviceFleetInputs"][0]["observedContentType"] == "Tensor[UINT8; 1, 224, 224, 3]"
    assert line["deviceFleetInputs"][0]["name"] == "input"
    assert line["deviceFleetOutputs"][0]["observedContentType"] == f"Tensor[UINT8; 1, {out.shape[-1]}]"
