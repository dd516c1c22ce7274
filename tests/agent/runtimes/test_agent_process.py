"""The agent as a program: what its settings say about accelerators and keys is what happens, and is in its log."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import grpc
import pytest

from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from signed_packages import new_key, public_pem, sign_folder
from support import Process

Start = Callable[..., AbstractContextManager[tuple[AgentStub, Process]]]


@pytest.fixture
def agent(tmp_path: Path, python: Callable[..., Process]) -> Start:
    """Start an agent with these settings; a client of it and its process."""

    @contextmanager
    def start(**settings: str) -> Iterator[tuple[AgentStub, Process]]:
        socket = tmp_path / "agent.sock"
        told = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        process = python("emflow_agent", "--socket", str(socket), *told)
        process.says("Server listening on")
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            yield AgentStub(channel), process
        assert process.end() == 0

    return start


def load(stub: AgentStub, folder: Path, name: str = "scenes") -> m.Model:
    return stub.LoadModel(m.LoadModelRequest(url=str(folder), name=name)).model


def test_the_delegate_that_was_really_taken_is_in_the_log(agent: Start, folder: Path, delegate: Path) -> None:
    with agent(Delegate=str(delegate), DelegateOptions="claim=1") as (stub, process):
        load(stub, folder)
        stub.DescribeModel(m.DescribeModelRequest(name="scenes"))
        said = process.says("scenes runs on ")
    assert said.count("libtest_delegate.so 1 of 18 nodes, XNNPACK") == 2
    assert "Model:scenes loaded!" in said


def test_a_missing_accelerator_is_a_warning_or_a_refusal(
    agent: Start, folder: Path, refused: Callable[[Callable[[], object]], tuple[grpc.StatusCode, str]]
) -> None:
    with agent(Delegate="vx") as (stub, process):
        load(stub, folder)
        process.says("the VX delegate cannot run this model")
    with agent(Delegate="vx", AcceleratorRequired="true") as (stub, process):
        code, text = refused(lambda: load(stub, folder))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "libvx_delegate.so: cannot open shared object file" in text


def test_trusted_keys_decide_what_is_loaded(
    agent: Start,
    folder: Path,
    neo: Path,
    tmp_path: Path,
    refused: Callable[[Callable[[], object]], tuple[grpc.StatusCode, str]],
) -> None:
    key, state = new_key(), tmp_path / "state"
    sign_folder(neo, key, "dense", "1.0.0")
    (tmp_path / "k.pub.pem").write_text(public_pem(key))
    settings = {"TrustKeys": str(tmp_path / "k.pub.pem"), "RequireSignature": "true", "TrustState": str(state)}
    with agent(**settings) as (stub, process):
        load(stub, neo, "dense")
        process.says("dense 1.0.0, signed by key ")
        code, text = refused(lambda: load(stub, folder))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "the package is not signed" in text
        shutil.copy(neo / "compiled.meta", neo / "compiled.params")
        stub.UnLoadModel(m.UnLoadModelRequest(name="dense"))
        code, text = refused(lambda: load(stub, neo, "dense"))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "'compiled.params' differs from what was signed" in text
    assert (state / "model-trust.json").exists()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, on which there is no space left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be made: {done.stderr}")
    try:
        (disk / "state").mkdir()
        with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        assert shutil.disk_usage(disk).free == 0
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("content", ["", "{"])
def test_a_full_disk_or_a_damaged_state_does_not_keep_it_from_starting(
    agent: Start,
    folder: Path,
    full_disk: Path,
    tmp_path: Path,
    content: str,
    refused: Callable[[Callable[[], object]], tuple[grpc.StatusCode, str]],
) -> None:
    key, state = new_key(), full_disk / "state"
    sign_folder(folder, key)
    (tmp_path / "k.pub.pem").write_text(public_pem(key))
    if content:
        state = tmp_path / "damaged"
        state.mkdir()
        (state / "model-trust.json").write_text(content)
    with agent(TrustKeys=str(tmp_path / "k.pub.pem"), TrustState=str(state)) as (stub, process):
        if content:
            process.says(f"TrustState: {state}/model-trust.json is damaged: ")
            code, text = refused(lambda: load(stub, folder))
            assert code == grpc.StatusCode.FAILED_PRECONDITION
            assert "remove it, and the floors of this device's models are gone with it" in text
            (state / "model-trust.json").unlink()
        else:
            process.says(f"TrustState: {state}/model-trust.json cannot be written: No space left on device")
        load(stub, folder)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"Delegate": "npu"}, "Delegate: 'npu' is unknown; supported are vx, teflon"),
        ({"Runtime": "tensorrt"}, "Runtime in the command line: 'tensorrt' is none of auto, litert, onnx, neo"),
        ({"TrustKeys": "/nowhere.pem"}, "TrustKeys: '/nowhere.pem' cannot be read: No such file or directory"),
        ({"RequireSignature": "true"}, "TrustKeys: signatures are required, but no trusted key is given"),
        ({"DLRBackendOptions": "LD_PRELOAD=/x"}, "holds 'LD_PRELOAD', which is not valid: Names in capitals"),
    ],
)
def test_a_setting_that_names_nothing_ends_the_start(
    python: Callable[..., Process], tmp_path: Path, settings: dict[str, str], reason: str
) -> None:
    told = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    process = python("emflow_agent", "--socket", str(tmp_path / "a.sock"), *told)
    assert process.ended() == 2
    assert reason in process.text()
    assert "Traceback" not in process.text()
