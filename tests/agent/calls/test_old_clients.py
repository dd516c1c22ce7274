"""Programs with generated code that behave like clients of the original agent, the handle's revision among them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import Process, until

pytestmark = pytest.mark.e2e

PROTO = Path(__file__).parents[3] / "proto" / "emflow_proto" / "agent.proto"

# As the C++ example does it: the handle has the segment's number only, the capture's id is no UUID, and of a refusal
# only the code is shown.
CLIENT = """
import ctypes, struct, sys, time
import grpc, agent_pb2 as pb, agent_pb2_grpc

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = ctypes.c_int, ctypes.c_void_p, ctypes.c_int
libc.shmdt.argtypes = (ctypes.c_void_p,)

def segment_with(data):
    number = libc.shmget(0, len(data), 0o1600)
    address = libc.shmat(number, None, 0)
    ctypes.memmove(address, data, len(data))
    libc.shmdt(address)
    about = ctypes.create_string_buffer(256)
    libc.shmctl(number, 2, about)
    struct.pack_into("=H", about, 20, 0o400)
    libc.shmctl(number, 1, about)
    return number

def call(name, method, request):
    try:
        answer = method(request, timeout=60)
        print(name, "OK", flush=True)
        return answer
    except grpc.RpcError as error:
        print(name, error.code().name, flush=True)

address, url, named = sys.argv[1], sys.argv[2], sys.argv[3] == "named"
agent = agent_pb2_grpc.AgentStub(grpc.insecure_channel("unix://" + address))
# The model's identity in each message: its name, or in the other revision its handle.
model = {"name": "scenes"} if named else {"handle": 7}
captured = {"model_name": "scenes"} if named else {"model_handle": 7}
loaded = call("load", agent.LoadModel, pb.LoadModelRequest(url=url, **model)).model
number = segment_with(bytes(150528))
image = pb.Tensor(tensor_metadata=loaded.input_tensor_metadatas[0])
image.shared_memory_handle.segment_id = number
answer = call("predict", agent.Predict, pb.PredictRequest(tensors=[image], **model))
capture = "capture" + str(int(time.time()))
stamp = pb.Timestamp(seconds=int(time.time()))
request = pb.CaptureDataRequest(capture_id=capture, inference_timestamp=stamp, input_tensors=[image],
                                output_tensors=answer.tensors, **captured)
call("capture", agent.CaptureData, request)
while True:
    status = agent.GetCaptureDataStatus(pb.GetCaptureDataStatusRequest(capture_id=capture)).status
    if status != pb.IN_PROGRESS:
        print("status", pb.CaptureDataStatus.Name(status))
        break
    time.sleep(0.05)
short = segment_with(b"too short")
image.shared_memory_handle.segment_id = short
call("short", agent.Predict, pb.PredictRequest(tensors=[image], **model))
for each in (number, short):
    libc.shmctl(each, 0, None)
call("unload", agent.UnLoadModel, pb.UnLoadModelRequest(**model))
print(capture)
"""


def revision(named: bool) -> str:
    """The interface as a client of that time has it: without handles and with text as names, or with handles."""
    proto = PROTO.read_text()
    if not named:
        return proto
    without = re.sub(r"\n  int32 (model_)?handle = \d;[^\n]*", "", proto)
    assert proto.count("handle = ") - without.count("handle = ") == 6
    return without.replace("bytes name = 1;", "string name = 1;")


@pytest.mark.parametrize("named", [True, False], ids=["names", "handles"])
def test_a_client_like_the_c_plus_plus_example_works_with_shared_memory(
    python: Callable[..., Process], folder: Path, tmp_path: Path, named: bool
) -> None:
    disk = tmp_path / "disk"
    settings = {
        "DeviceFleetName": "fleet",
        "CaptureDataDestination": "Disk",
        "CaptureDataDiskPath": str(disk),
        "CaptureDataPushPeriodSeconds": "0.1",
    }
    (tmp_path / "agent.json").write_text(json.dumps(settings))
    address = tmp_path / "a.sock"
    agent = python("emflow_agent", "--socket", str(address), "--config", str(tmp_path / "agent.json"))
    agent.says("Server listening on")
    (tmp_path / "agent.proto").write_text(revision(named))
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}", f"--python_out={tmp_path}"]
    subprocess.run([*protoc, f"--grpc_python_out={tmp_path}", str(tmp_path / "agent.proto")], check=True)
    (tmp_path / "client.py").write_text(CLIENT)

    arguments = [str(tmp_path / "client.py"), str(address), str(folder), "named" if named else "handles"]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False)

    *said, capture = done.stdout.split("\n")[:-1]
    expected = ["load OK", "predict OK", "capture OK", "status SUCCESS", "short INVALID_ARGUMENT", "unload OK"]
    assert said == expected, done.stderr + agent.text()
    until(lambda: list(disk.rglob("*.jsonl")))
    (file,) = disk.rglob("*.jsonl")
    line = json.loads(file.read_text())
    assert line["eventMetadata"]["eventId"] == capture
    assert line["eventMetadata"]["modelName"] == ("scenes" if named else "handle-7")
    assert Path(line["deviceFleetInputs"][0]["dataRef"]).read_bytes() == bytes(150528)
    # The client shows the code alone, so the reason is in the agent's log, at its default level.
    agent.says("Predict: INVALID_ARGUMENT: shared memory segment")
