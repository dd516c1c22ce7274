"""The agent as a program: how it starts, whom it lets in, what it logs, how it ends."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_schema.agent_socket import AGENT_COMPONENT, CORE_SOCKET, default_socket
from support import PATIENCE, Process, until

pytestmark = pytest.mark.e2e

Start = Callable[..., Process]
GRACE = 30
"""Seconds for the end of an agent, which gives calls five, while a runtime would compile for a minute."""
PROTO = Path(__file__).parents[3] / "proto" / "emflow_proto"


@pytest.fixture
def address(tmp_path: Path) -> Path:
    return tmp_path / "a.sock"


@pytest.fixture
def agent(python: Start, address: Path) -> Process:
    """An agent that listens."""
    process = python("emflow_agent", "--socket", str(address))
    process.says("Server listening on")
    return process


def ends_with(process: Process, code: int) -> str:
    """Wait until a program that cannot go on has ended; what it said last."""
    assert process.ended() == code, process.text()
    assert "Traceback" not in process.text()
    return process.text().strip().splitlines()[-1]


def test_it_says_the_two_lines_that_people_look_for(agent: Process, address: Path, folder: Path) -> None:
    assert f"Server listening on unix://{address}\n" in agent.text()
    assert str(address).startswith("/")
    with grpc.insecure_channel(f"unix://{address}") as channel:
        AgentStub(channel).LoadModel(m.LoadModelRequest(url=str(folder), name="a-model"))
    agent.says("Model:a-model loaded!\n")


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_socket_is_for_owner_and_group_whatever_the_umask(python: Start, address: Path, umask: int) -> None:
    python("emflow_agent", "--socket", str(address), umask=umask).says("Server listening on")
    assert stat.S_IMODE(address.stat().st_mode) == 0o660


def test_a_relative_path_with_a_space_and_a_percent_sign_works(python: Start, tmp_path: Path) -> None:
    (tmp_path / "a b%41").mkdir()
    python("emflow_agent", "--socket", "a b%41/s", cwd=tmp_path).says("Server listening on")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "a b%41" / "s"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_socket_while_clients_go_on_calling(
    agent: Process, address: Path, folder: Path, number: int
) -> None:
    with grpc.insecure_channel(f"unix:{address}") as channel, ThreadPoolExecutor(4) as clients:
        stub = AgentStub(channel)
        stub.LoadModel(m.LoadModelRequest(url=str(folder), name="busy"))
        request = m.PredictRequest(name="busy", tensors=[m.Tensor(byte_data=bytes(150528))])
        answered: list[int] = []

        def call_until_refused() -> grpc.StatusCode:
            while True:
                try:
                    answered.append(len(stub.Predict(request, timeout=PATIENCE).tensors))
                except grpc.RpcError as refusal:
                    return refusal.code()

        ends = [clients.submit(call_until_refused) for _ in range(4)]
        until(lambda: len(answered) > 8, what="predictions")
        assert agent.end(number, timeout=GRACE) == 0
        # A call that no worker had begun is cancelled, one that comes later finds nobody.
        assert {end.result() for end in ends} <= {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
    assert not address.exists()
    assert agent.text().strip().endswith("stopped")


def test_a_signal_ends_it_when_nobody_ever_called(agent: Process, address: Path) -> None:
    assert agent.end(timeout=GRACE) == 0
    assert not address.exists()


A_MINUTE = """
import os, pathlib, time

class Interpreter:
    def __init__(self, **_):
        pathlib.Path("compiling").write_text(f"{os.getpid()} ")
        time.sleep(60)
"""


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "XZ"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("options", [[], ["--no-trial"]])
def test_a_load_that_outlives_the_grace_does_not_hold_it_up(
    python: Start, address: Path, folder: Path, tmp_path: Path, options: list[str]
) -> None:
    # A runtime that takes a minute to compile a model, in the place of the real one.
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(A_MINUTE)
    path, compiling = {**os.environ, "PYTHONPATH": str(tmp_path)}, tmp_path / "compiling"
    agent = python("emflow_agent", "--socket", str(address), *options, env=path, cwd=tmp_path)
    agent.says("Server listening on")
    with grpc.insecure_channel(f"unix:{address}") as channel:
        call = AgentStub(channel).LoadModel.future(m.LoadModelRequest(url=str(folder), name="slow"))
        until(lambda: compiling.exists() and compiling.read_text().endswith(" "), what="a load under way")
        compiler = int(compiling.read_text())
        assert (compiler == agent.popen.pid) == bool(options)
        assert agent.end(timeout=GRACE) == 0
        assert call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert not address.exists()
    assert agent.text().strip().endswith("stopped")
    until(lambda: not runs(compiler), what="the end of the model's trial")


def test_a_model_that_crashes_its_runtime_is_refused_and_the_others_go_on(
    agent: Process, address: Path, folder: Path, tmp_path: Path
) -> None:
    # Zero points that no int8 can have: LiteRT believes them, and reads where nothing is.
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    content = (folder / "scenes.tflite").read_bytes()
    wrong = content.replace(struct.pack("<q", -128), struct.pack("<q", -188))
    assert wrong != content
    (damaged / "a.tflite").write_bytes(wrong)
    with grpc.insecure_channel(f"unix:{address}") as channel:
        stub = AgentStub(channel)
        stub.LoadModel(m.LoadModelRequest(url=str(folder), name="whole"))
        with pytest.raises(grpc.RpcError) as caught:
            stub.LoadModel(m.LoadModelRequest(url=str(damaged), name="damaged"))
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert "it crashes LiteRT (SIGSEGV)" in str(caught.value.details())
        request = m.PredictRequest(name="whole", tensors=[m.Tensor(byte_data=bytes(150528))])
        assert stub.Predict(request).tensors


def test_a_stale_socket_is_removed_only_on_request(agent: Process, python: Start, address: Path) -> None:
    agent.end(signal.SIGKILL)
    assert address.exists()
    assert "--clean-stale-socket removes it" in ends_with(python("emflow_agent", "--socket", str(address)), 1)
    assert address.exists()
    python("emflow_agent", "--socket", str(address), "--clean-stale-socket").says("Server listening on")


def test_a_socket_that_is_served_is_never_taken(agent: Process, python: Start, address: Path) -> None:
    for more in ([], ["--clean-stale-socket"]):
        last = ends_with(python("emflow_agent", "--socket", str(address), *more), 1)
        assert last == f"emflow-agent: {address} is already served by another process"
    with grpc.insecure_channel(f"unix:{address}") as channel:
        AgentStub(channel).ListModels(m.ListModelsRequest(), timeout=PATIENCE)


def test_a_file_that_is_no_socket_is_never_taken(python: Start, address: Path) -> None:
    address.write_text("precious")
    last = ends_with(python("emflow_agent", "--socket", str(address), "--clean-stale-socket"), 1)
    assert "exists and is not a socket" in last
    assert address.read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(python: Start, tmp_path: Path) -> None:
    last = ends_with(python("emflow_agent", "--socket", str(tmp_path / "none" / "s")), 1)
    assert last == f"emflow-agent: the folder {tmp_path}/none for the socket does not exist"


def _without_the_right_to_ignore_permissions() -> None:
    """Root may write anywhere by CAP_DAC_OVERRIDE (1): drop it (PR_CAPBSET_DROP, 24). Others do not have it."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


def test_a_folder_that_may_not_be_written_is_named(python: Start, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    options = {"preexec_fn": _without_the_right_to_ignore_permissions}
    last = ends_with(python("emflow_agent", "--socket", str(folder / "s"), **options), 1)
    assert last == f"emflow-agent: no permission to create a socket in {folder}"


def test_a_folder_where_others_may_replace_the_socket_is_refused(python: Start, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    last = ends_with(python("emflow_agent", "--socket", str(folder / "s")), 1)
    assert last.startswith(f"emflow-agent: {folder / 's'} is no safe place for the socket: everybody may replace")
    assert "has mode 0777; choose another (UnixSocketName, --socket), or name the user in SocketUsers" in last
    folder.chmod(0o1777)
    python("emflow_agent", "--socket", str(folder / "s")).says("Server listening on")


def test_a_user_whom_the_device_does_not_have_is_named(python: Start, address: Path) -> None:
    options = ["--socket", str(address), "--set", "SocketUsers=root, nobody-of-that-name"]
    last = ends_with(python("emflow_agent", *options), 1)
    assert last == "emflow-agent: SocketUsers: there is no user 'nobody-of-that-name' on this device"


def test_without_a_path_the_socket_is_in_a_folder_of_the_user_alone(python: Start, tmp_path: Path) -> None:
    agent = python("emflow_agent", env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)})
    agent.says(f"Server listening on unix://{tmp_path}/emflow/agent.sock\n")
    assert stat.S_IMODE((tmp_path / "emflow").stat().st_mode) == 0o700


def test_on_a_core_the_default_socket_is_in_the_agents_work_folder(python: Start, tmp_path: Path) -> None:
    # The configuration of a workflow names the default of a core with the usual root folder.
    work = tmp_path / "work" / AGENT_COMPONENT
    work.mkdir(parents=True)
    environment = {**os.environ, "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": "unused"}
    agent = python("emflow_agent", "--socket", CORE_SOCKET, env=environment, cwd=work)
    agent.says(f"Server listening on unix://{default_socket(environment, work)}\n")


def test_a_place_where_no_socket_can_be_is_refused_in_one_line(python: Start) -> None:
    assert ends_with(python("emflow_agent", "--socket", "/proc/s"), 1) == "emflow-agent: gRPC cannot listen on /proc/s"


def test_a_path_that_is_too_long_for_a_socket_is_counted(python: Start, tmp_path: Path) -> None:
    longest = str(tmp_path) + "/" + "s" * (107 - len(str(tmp_path)) - 1)
    python("emflow_agent", "--socket", longest).says("Server listening on")
    last = ends_with(python("emflow_agent", "--socket", longest + "s"), 1)
    assert last.startswith("emflow-agent: the socket path has 108 bytes; at most 107 are possible")


def test_without_a_runtime_it_says_what_to_install(python: Start, tmp_path: Path, address: Path) -> None:
    # Packages of those names which cannot be imported, before the real ones: what a board without a runtime sees.
    for package in ("ai_edge_litert", "onnxruntime"):
        (tmp_path / f"{package}.py").write_text("raise ImportError('no such thing on this device')")
    process = python("emflow_agent", "--socket", str(address), env={**os.environ, "PYTHONPATH": str(tmp_path)})
    text = process.says("Server listening on")
    assert "only Neo-compiled models can be loaded: no such thing on this device" in text
    assert "or ai-edge-litert (extra agent): pip install " in text


def test_without_grpc_it_says_what_to_install(python: Start, tmp_path: Path) -> None:
    (tmp_path / "grpc.py").write_text("raise ImportError('no grpc on this device')")
    process = python("emflow_agent", "--socket", "s", env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert ends_with(process, 1).startswith(
        "emflow-agent: no grpc on this device; install what the agent needs (extra agent): pip install "
    )


@pytest.mark.parametrize("wrong", [["--threads", "0"], ["--threads", "x"], ["--verbose", "maybe"], ["--sokket", "a"]])
def test_a_wrong_command_line_is_exit_code_2(python: Start, wrong: list[str]) -> None:
    assert "emflow-agent: error: " in ends_with(python("emflow_agent", *wrong), 2)


def test_it_takes_the_command_line_of_the_greengrass_component(python: Start, address: Path) -> None:
    options = ["--fleet", "a-fleet", "--verbose", "false", "--clean-stale-socket"]
    text = python("emflow_agent", "--socket", str(address), *options).says("Server listening on")
    assert "fleet a-fleet" in text


def test_a_model_that_does_not_fit_is_refused_and_the_others_go_on(
    agent: Process, address: Path, folder: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.mkdir()
    with (large / "a.tflite").open("wb") as file:
        file.truncate(512 << 20)  # a hole: takes no disk, and is not read before the check
    with grpc.insecure_channel(f"unix:{address}") as channel:
        stub = AgentStub(channel)
        stub.LoadModel(m.LoadModelRequest(url=str(folder), name="small"))
        pages = int(Path(f"/proc/{agent.popen.pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (256 << 20)
        resource.prlimit(agent.popen.pid, resource.RLIMIT_AS, (limit, limit))
        with pytest.raises(grpc.RpcError) as caught:
            stub.LoadModel(m.LoadModelRequest(url=str(large), name="large"))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "needs about 1091 MB" in str(caught.value.details())
        request = m.PredictRequest(name="small", tensors=[m.Tensor(byte_data=bytes(150528))])
        assert stub.Predict(request).tensors


GENERATED_CLIENT = """
import sys, grpc, agent_pb2, agent_pb2_grpc
with grpc.insecure_channel("unix://" + sys.argv[1]) as channel:
    agent = agent_pb2_grpc.AgentStub(channel)
    agent.LoadModel(agent_pb2.LoadModelRequest(url=sys.argv[2], name="a-model"))
    # As the workshop's client does it: uint8 bytes, labelled FLOAT32, with a name that is a string on its side.
    described = agent.DescribeModel(agent_pb2.DescribeModelRequest(name="a-model")).model.input_tensor_metadatas[0]
    metadata = agent_pb2.TensorMetadata(name=described.name, data_type=5, shape=described.shape)
    tensor = agent_pb2.Tensor(tensor_metadata=metadata, byte_data=bytes(150528))
    answer = agent.Predict(agent_pb2.PredictRequest(name="a-model", tensors=[tensor]))
    print(answer.tensors[0].tensor_metadata.shape, len(answer.tensors[0].byte_data))
    agent.UnLoadModel(agent_pb2.UnLoadModelRequest(name="a-model"))
    print(len(agent.ListModels(agent_pb2.ListModelsRequest()).models))
"""


@pytest.mark.parametrize("tensor_name", ["bytes", "string"])
def test_a_client_with_generated_code_is_served(
    agent: Process, address: Path, folder: Path, tmp_path: Path, tensor_name: str
) -> None:
    proto = (PROTO / "agent.proto").read_text().replace("bytes name = 1;", f"{tensor_name} name = 1;")
    (tmp_path / "agent.proto").write_text(proto)
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}", f"--python_out={tmp_path}"]
    subprocess.run([*protoc, f"--grpc_python_out={tmp_path}", str(tmp_path / "agent.proto")], check=True)
    (tmp_path / "client.py").write_text(GENERATED_CLIENT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "client.py"), str(address), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[1, 10] 10\n0\n"), done.stderr
