"""Boards bring the protobuf and gRPC of their image's year: the contract holds from the oldest that install here on.

The newest are what all other tests run with.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from emflow_proto import messages as m
from emflow_proto.service import AgentStub
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


def test_an_agent_on_the_oldest_packages_serves_the_newest_client(
    install: Callable[..., Path], python: Callable[..., Process], scenes_model: Path, tmp_path: Path
) -> None:
    folder = install("protobuf==3.12.4", "grpcio==1.49.1")
    socket = tmp_path / "a.sock"
    agent = python("emflow_agent", "--socket", str(socket), env={**os.environ, "PYTHONPATH": str(folder)})
    agent.says("Server listening on")
    assert f"{folder}/grpc/_cython/cygrpc" in Path(f"/proc/{agent.popen.pid}/maps").read_text()
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        stub = AgentStub(channel)
        model = stub.LoadModel(m.LoadModelRequest(url=str(scenes_model.parent), name="scenes"), timeout=20).model
        (taken,) = model.input_tensor_metadatas
        picture = m.Tensor(byte_data=bytes(math.prod(taken.shape)))
        request = m.PredictRequest(name="scenes", tensors=[picture])
        (given,) = stub.Predict(request, timeout=20).tensors
        assert len(given.byte_data) == model.output_tensor_metadatas[0].shape[1]
    assert agent.end() == 0
    assert not socket.exists()
