"""Boards bring the protobuf and gRPC of their image's year: the contract holds from the oldest to the newest.

Agent and client each run with both, in processes of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emflow_proto import messages as m
from support import Process

pytestmark = pytest.mark.peer

ROUND_TRIP = """
import sys
import google.protobuf
from emflow_proto import messages as m
tensor = m.Tensor(
    tensor_metadata=m.TensorMetadata(name=b"input", data_type=m.DataType.FLOAT32, shape=[1, 2]), byte_data=b"12345678"
)
request = m.PredictRequest(name="a", tensors=[tensor])
assert m.PredictRequest.FromString(request.SerializeToString()) == request
assert request.tensors[0].WhichOneof("data") == "byte_data"
print(google.protobuf.__version__, request.SerializeToString().hex())
"""


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Put packages into a folder of their own, which comes before all others that are installed."""

    def put(*packages: str) -> Path:
        folder = tmp_path_factory.mktemp("old")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*pip, "--target", str(folder), *packages], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = f"cannot install {packages}: {done.stderr.strip().splitlines()[-1]}"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
        return folder

    return put


@pytest.mark.parametrize("version", ["3.12.4", "3.20.3", "4.21.12", "5.26.1"])
def test_messages_are_the_same_bytes_with_every_protobuf(install: Callable[..., Path], version: str) -> None:
    folder = install(f"protobuf=={version}")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", ROUND_TRIP], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    used, written = done.stdout.split()
    assert used == version
    tensor = m.PredictRequest.FromString(bytes.fromhex(written)).tensors[0]
    assert (tensor.tensor_metadata.data_type, list(tensor.tensor_metadata.shape)) == (m.DataType.FLOAT32, [1, 2])
    assert tensor.byte_data == b"12345678"


OLDEST, NEWEST = ("protobuf==3.12.4", "grpcio==1.49.1"), ("protobuf", "grpcio")

# All seven calls, the service beside them, the health of it all, and a refusal; says what it ran with.
CLIENT = """
import math, sys, time, uuid
import google.protobuf, grpc
from emflow_proto import health, messages as m, models
from emflow_proto.service import AgentStub
from emflow_proto.shared_memory import SharedBuffer

socket, folder = sys.argv[1:]
with grpc.insecure_channel("unix:" + socket) as channel:
    agent = AgentStub(channel)
    loaded = agent.LoadModel(m.LoadModelRequest(url=folder, name="scenes"), timeout=60).model
    assert agent.DescribeModel(m.DescribeModelRequest(name="scenes")).model == loaded
    assert list(agent.ListModels(m.ListModelsRequest()).models) == [loaded]
    size = math.prod(loaded.input_tensor_metadatas[0].shape)
    sent = m.Tensor(tensor_metadata=m.TensorMetadata(data_type=m.DataType.FLOAT32), byte_data=bytes(size))
    (given,) = agent.Predict(m.PredictRequest(name="scenes", tensors=[sent]), timeout=60).tensors
    buffer = SharedBuffer(size)
    shared = m.PredictRequest(name="scenes", tensors=[m.Tensor(shared_memory_handle=buffer.handle)])
    assert list(agent.Predict(shared, timeout=60).tensors) == [given]
    try:
        agent.Predict(m.PredictRequest(name="scenes", tensors=[m.Tensor(byte_data=b"x")]))
    except grpc.RpcError as refusal:
        assert refusal.code() == grpc.StatusCode.INVALID_ARGUMENT
    chosen = str(uuid.uuid4())
    capture = m.CaptureDataRequest(model_name="scenes", capture_id=chosen, output_tensors=[given])
    capture.inference_timestamp.seconds = int(time.time())
    agent.CaptureData(capture)
    question = m.GetCaptureDataStatusRequest(capture_id=chosen)
    while agent.GetCaptureDataStatus(question).status == m.CaptureDataStatus.IN_PROGRESS:
        time.sleep(0.02)
    assert agent.GetCaptureDataStatus(question).status == m.CaptureDataStatus.SUCCESS
    agent.UnLoadModel(m.UnLoadModelRequest(name="scenes"))
    ours = models.ModelsStub(channel)
    use = ours.Use(models.UseRequest(url=folder, name="scenes"))
    begun = next(use)
    described = ours.Describe(models.DescribeRequest(handle=begun.model.handle)).model
    assert (described, described.inputs[0].type, described.uses) == (begun.model, "uint8", 1)
    assert ours.Compare(models.CompareRequest(handle=begun.model.handle, url=folder)).same
    ours.Release(models.ReleaseRequest(use=begun.use))
    assert not agent.ListModels(m.ListModelsRequest()).models
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health.HealthCheckRequest.SerializeToString,
        health.HealthCheckResponse.FromString,
    )
    assert check(health.HealthCheckRequest(service=m.SERVICE)).status == health.SERVING
print(google.protobuf.__version__, google.protobuf.__file__, grpc.__file__)
"""


@pytest.fixture(scope="module")
def environments(install: Callable[..., Path]) -> dict[str, Path]:
    return {"oldest": install(*OLDEST), "newest": install(*NEWEST)}


@pytest.mark.parametrize("of_client", ["oldest", "newest"])
@pytest.mark.parametrize("of_agent", ["oldest", "newest"])
def test_every_call_is_served_with_the_oldest_and_the_newest_packages(
    environments: dict[str, Path],
    python: Callable[..., Process],
    scenes_model: Path,
    tmp_path: Path,
    of_agent: str,
    of_client: str,
) -> None:
    socket, (theirs, ours) = tmp_path / "a.sock", (environments[of_agent], environments[of_client])
    options = {
        "DeviceFleetName": "a-fleet",
        "CaptureDataDestination": "Disk",
        "CaptureDataDiskPath": tmp_path / "captures",
        "CaptureDataPushPeriodSeconds": "0.1",
    }
    settings = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    agent = python("emflow_agent", "--socket", str(socket), *settings, env={**os.environ, "PYTHONPATH": str(theirs)})
    agent.says("Server listening on")
    assert f"{theirs}/grpc/_cython/cygrpc" in Path(f"/proc/{agent.popen.pid}/maps").read_text()
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(socket), str(scenes_model.parent)],
        env={**os.environ, "PYTHONPATH": str(ours)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + agent.text()
    assert done.stdout.count(str(ours)) == 2
    assert agent.end() == 0
    assert "Traceback" not in agent.text()
    assert not socket.exists()
