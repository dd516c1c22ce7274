"""The agent as a program of a device: its settings from a file or the nucleus, its socket's group, systemd, memory."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from emflow_emulator.core.ipc.server import IpcServer
from emflow_emulator.core.logs import DeviceLog
from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emulator.core.ipc_device import Device
from support import PATIENCE, Process, until

pytestmark = pytest.mark.e2e

Start = Callable[..., Process]


@pytest.fixture
def address(tmp_path: Path) -> Path:
    return tmp_path / "a.sock"


def ends_with(process: Process, code: int) -> str:
    assert process.ended() == code, process.text()
    assert "Traceback" not in process.text()
    return process.text().strip().splitlines()[-1]


def test_a_configuration_file_is_all_it_needs(python: Start, tmp_path: Path, address: Path) -> None:
    settings = {"UnixSocketName": str(address), "DeviceFleetName": "a-fleet", "SocketMode": "0600", "Other": "x"}
    (tmp_path / "agent.json").write_text(json.dumps(settings))
    text = python("emflow_agent", "--config", str(tmp_path / "agent.json")).says("Server listening on")
    assert "agent of fleet a-fleet" in text
    assert f"Other in {tmp_path}/agent.json is not a setting of this agent" in text
    assert "CaptureData will be refused: BucketName is not set" in text
    assert stat.S_IMODE(address.stat().st_mode) == 0o600


def test_a_wrong_setting_is_one_line_and_exit_code_2(python: Start, tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_text('{"CaptureDataBufferSize": "3"}')
    assert ends_with(python("emflow_agent", "--config", str(tmp_path / "agent.json")), 2) == (
        "emflow-agent: error: CaptureDataBatchSize: a batch of 10 does not fit into a buffer of 3, which has to be "
        "larger; make the buffer larger than the batch"
    )


@pytest.fixture
def nucleus(tmp_path: Path, address: Path) -> Iterator[dict[str, str]]:
    """The environment of a component of the virtual core device, with the settings of Edge Manager's."""
    configuration = {
        "UnixSocketName": str(address),
        "DeviceFleetName": 'a "fleet"; $(touch injected)',
        "Threads": "1",
        "CaptureDataDestination": "Disk",
        "CaptureDataDiskPath": str(tmp_path / "captures"),
    }
    device = Device(tmp_path, {"the-agent": configuration})
    with nucleus_of(device, tmp_path) as environment:
        yield environment


@contextmanager
def nucleus_of(device: Device, folder: Path) -> Iterator[dict[str, str]]:
    path = folder / "ipc.socket"
    server = IpcServer(path, {"token": "the-agent"}.get, device.operations, DeviceLog(folder / "greengrass.log"))
    server.start()
    yield {**os.environ, "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(path), "SVCUID": "token"}
    server.stop()


@pytest.mark.parametrize(
    ("proposed", "wrong"),
    [
        ({"Threads": "2"}, ""),
        ({"Threads": "many"}, "Threads in the Greengrass configuration: 'many'"),
        ({"CaptureDataBufferSize": "3"}, "does not fit into a buffer of 3"),
    ],
)
def test_the_agent_answers_about_a_configuration_that_is_about_to_be_deployed(
    python: Start, tmp_path: Path, address: Path, proposed: dict[str, str], wrong: str
) -> None:
    settings = {"UnixSocketName": str(address)}
    device = Device(tmp_path, {"the-agent": settings})
    with nucleus_of(device, tmp_path) as environment:
        agent = python("emflow_agent", "--greengrass", env=environment, cwd=tmp_path)
        agent.says("Server listening on")
        validate = device.operations.settings.validate
        until(lambda: device.operations.settings.asks("the-agent"), what="the agent's subscription")
        found = validate("deployment-1", {"the-agent": {**settings, **proposed}}, 20, threading.Event())
        assert found.keys() == ({"the-agent"} if wrong else set())
        assert wrong in found.get("the-agent", "")
        assert agent.end() == 0


def test_in_greengrass_every_setting_comes_over_ipc(
    python: Start, tmp_path: Path, address: Path, nucleus: dict[str, str]
) -> None:
    agent = python("emflow_agent", "--greengrass", env=nucleus, cwd=tmp_path)
    text = agent.says("Server listening on")
    assert f"Server listening on unix://{address}\n" in text
    assert 'agent of fleet a "fleet"; $(touch injected), 1 threads' in text
    assert not (tmp_path / "injected").exists()
    assert agent.end() == 0


def test_a_nucleus_that_lets_nobody_in_is_one_line(python: Start, nucleus: dict[str, str]) -> None:
    last = ends_with(python("emflow_agent", "--greengrass", env={**nucleus, "SVCUID": "wrong"}), 2)
    assert "does not return the configuration" in last


def _other_group() -> int:
    """A group that this process may give files to, and that is not its own."""
    others = [group for group in os.getgroups() if group != os.getegid()]
    if os.geteuid() == 0:
        return os.getegid() + 4242
    if not others:
        pytest.skip("this user is in one group only")
    return others[0]


def test_the_socket_is_given_to_a_group(python: Start, address: Path) -> None:
    group = _other_group()
    options = ["--set", f"SocketGroup={group}", "--set", "SocketMode=0660"]
    python("emflow_agent", "--socket", str(address), *options).says("Server listening on")
    about = address.stat()
    assert (about.st_gid, stat.S_IMODE(about.st_mode)) == (group, 0o660)


def test_a_group_that_is_not_there_is_named(python: Start, address: Path) -> None:
    process = python("emflow_agent", "--socket", str(address), "--set", "SocketGroup=no-such-group")
    assert ends_with(process, 1) == "emflow-agent: SocketGroup: there is no group 'no-such-group'"
    assert not address.exists()


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_notified_at_start_and_end(python: Start, tmp_path: Path, address: Path, abstract: bool) -> None:
    name = f"@emflow-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(20)
        agent = python("emflow_agent", "--socket", str(address), env={**os.environ, "NOTIFY_SOCKET": name})
        assert systemd.recv(100) == b"READY=1"
        assert address.exists()
        assert agent.end() == 0
        assert systemd.recv(100) == b"STOPPING=1"


@pytest.fixture
def large_model(tmp_path: Path) -> Callable[[int], Path]:
    """A folder with an ONNX model that has weights of so many bytes."""

    def make(size: int) -> Path:
        weights = numpy_helper.from_array(np.ones((size // 4096, 1024), np.float32), "w")
        taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, size // 4096])
        given = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1024])
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "net", [taken], [given], [weights])
        made = tmp_path / "large"
        made.mkdir()
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, made / "net.onnx")
        return made

    return make


def resident(agent: Process) -> int:
    line = next(
        line for line in Path(f"/proc/{agent.popen.pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1]) << 10


@pytest.mark.alone
def test_what_a_large_model_took_is_given_back_when_it_is_unloaded(
    python: Start, address: Path, tmp_path: Path, large_model: Callable[[int], Path]
) -> None:
    folder = large_model(96 << 20)
    agent = python("emflow_agent", "--socket", str(address))
    agent.says("Server listening on")
    with grpc.insecure_channel(f"unix:{address}") as channel:
        stub = AgentStub(channel)

        def once() -> tuple[int, int]:
            stub.LoadModel(m.LoadModelRequest(url=str(folder), name="large"), timeout=PATIENCE)
            loaded = resident(agent)
            stub.UnLoadModel(m.UnLoadModelRequest(name="large"), timeout=PATIENCE)
            return loaded, resident(agent)

        once()  # what the runtime's code takes stays
        before = resident(agent)
        loaded, _ = once()
        assert loaded > before + (64 << 20)
        until(lambda: resident(agent) < before + (8 << 20), what="the memory of the model given back")


@pytest.mark.alone
def test_a_model_over_the_memory_limit_is_refused_by_what_it_was_measured_to_take(
    python: Start, address: Path, folder: Path, large_model: Callable[[int], Path]
) -> None:
    large = large_model(64 << 20)
    agent = python("emflow_agent", "--socket", str(address), "--set", "MemoryLimit=224 MiB")
    agent.says("Server listening on")
    with grpc.insecure_channel(f"unix:{address}") as channel:
        stub = AgentStub(channel)
        stub.LoadModel(m.LoadModelRequest(url=str(folder), name="small"), timeout=PATIENCE)
        loads = [m.LoadModelRequest(url=str(large), name=f"large-{number}") for number in range(4)]
        calls = [stub.LoadModel.future(load, timeout=PATIENCE) for load in loads]
        refused = [call for call in calls if call.code() != grpc.StatusCode.OK]
        assert refused
        assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert all(call.details().startswith("the model needs about") for call in refused)
        assert resident(agent) < 224 << 20
        picture = m.PredictRequest(name="small", tensors=[m.Tensor(byte_data=bytes(150528))])
        assert stub.Predict(picture, timeout=PATIENCE).tensors


def test_of_several_that_start_at_once_one_gets_the_socket(python: Start, address: Path) -> None:
    started = [python("emflow_agent", "--socket", str(address)) for _ in range(3)]
    until(lambda: sum(process.popen.poll() is not None for process in started) == 2, what="two that give up")
    assert [process.popen.poll() for process in started if process.popen.poll() is not None] == [1, 1]
    with grpc.insecure_channel(f"unix:{address}") as channel:
        AgentStub(channel).ListModels(m.ListModelsRequest(), timeout=PATIENCE, wait_for_ready=True)


def test_a_number_that_is_no_group_s_is_refused_in_one_line(python: Start, address: Path) -> None:
    last = ends_with(python("emflow_agent", "--socket", str(address), "--set", "SocketGroup=4294967296"), 1)
    assert "group 4294967296 is not a valid group number" in last


def test_one_that_does_not_get_the_socket_leaves_the_other_s_disk_alone(
    python: Start, tmp_path: Path, address: Path
) -> None:
    settings = ("DeviceFleetName=f", "CaptureDataDestination=Disk", f"CaptureDataDiskPath={tmp_path / 'disk'}")
    said = [word for setting in settings for word in ("--set", setting)]
    python("emflow_agent", "--socket", str(address), *said).says("Server listening on")
    being_written = tmp_path / "disk" / "sme-capture" / "f" / "a.jsonl.part"
    until(being_written.parent.is_dir, what="a folder for captured data")
    being_written.write_text("{}")
    assert "already served" in ends_with(python("emflow_agent", "--socket", str(address), *said), 1)
    assert being_written.exists()
