"""The device as a child process: its ready line, its end, and the ends that it does not choose."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emflow.problems import Problem
from emflow_emulator.child import Child
from emulator.core.conftest import Cloud
from emulator.core.pieces import alive, lines
from support import until

pytestmark = pytest.mark.e2e

TREE = "(sleep 600 & echo $! >> pids; wait) & echo $! >> pids; echo $$ >> pids; wait"


@pytest.fixture
def access_file(cloud: Cloud, tmp_path: Path) -> Path:
    """What the cloud lets in, as a child process gets it."""
    cloud.access.write(tmp_path / "access.json")
    return tmp_path / "access.json"


@pytest.fixture
def start(cloud: Cloud, access_file: Path, root: Path, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    started: list[Child] = []

    def start(thing: str, **more: str) -> Child:
        options = {
            "thing": thing,
            "root": str(root),
            "endpoint-url": cloud.endpoint_url,
            "mqtt": f"127.0.0.1:{cloud.mqtt_port}",
            "access": str(access_file),
        } | more
        args = [text for name, value in options.items() for text in (f"--{name}", value)]
        child = Child("core", "emflow_emulator.core", args, tmp_path / "core.log")
        started.append(child)
        return child

    yield start
    for child in started:
        child.stop()


def with_a_tree_of_processes(cloud: Cloud, child: Child, root: Path) -> list[str]:
    """Deploy a component whose script starts others; their process ids."""
    facts = child.ready()
    name = f"tree-of-{facts['thing']}"
    cloud.component(name, lifecycle={"run": TREE, "shutdown": "echo down >> log"})
    cloud.outcome(facts["thing"], cloud.deploy(facts["thing_arn"], **{name: "1.0.0"}))
    pids = lines(root / "work" / name / "pids")
    assert len(pids) == 3
    assert all(alive(pid) for pid in pids)
    return pids


def test_with_umask_0_only_the_owner_may_write_into_the_devices_folder(
    cloud: Cloud, start: Callable[..., Child], root: Path
) -> None:
    before = os.umask(0)
    try:
        child = start("umask")
    finally:
        os.umask(before)
    facts = child.ready()
    cloud.component("writer", lifecycle={"run": "mkdir made && touch made/file && sleep 600"})
    cloud.outcome(facts["thing"], cloud.deploy(facts["thing_arn"], writer="1.0.0"))

    made = root / "work" / "writer" / "made" / "file"
    assert made.is_file()
    paths = [root, *(path for path in root.rglob("*") if not path.is_symlink())]
    assert [str(path) for path in paths if path.stat().st_mode & 0o022] == []


def test_it_says_when_it_is_ready_and_who_it_is(cloud: Cloud, start: Callable[..., Child], root: Path) -> None:
    facts = start("ready").ready()

    assert facts == {"thing": "ready", "root": str(root), "thing_arn": "arn:aws:iot:us-east-1:123456789012:thing/ready"}
    assert cloud.iot.describe_thing(thingName="ready")
    assert (root / "ipc.socket").is_socket()
    assert "BEGIN CERTIFICATE" in (root / "rootCA.pem").read_text()
    until(lambda: ("ready", "HEALTHY") in cloud.devices())


def test_a_term_shuts_components_down_in_good_order(cloud: Cloud, start: Callable[..., Child], root: Path) -> None:
    child = start("termed")
    pids = with_a_tree_of_processes(cloud, child, root)
    child.stop()

    assert not [pid for pid in pids if alive(pid)]
    assert lines(root / "work" / "tree-of-termed" / "log") == ["down"]
    assert not (root / "ipc.socket").exists()


def test_a_kill_leaves_nothing_running(cloud: Cloud, start: Callable[..., Child], root: Path) -> None:
    child = start("killed")
    pids = with_a_tree_of_processes(cloud, child, root)
    os.kill(child.pid, signal.SIGKILL)

    until(lambda: not [pid for pid in pids if alive(pid)])


PARENT = """
import json, sys, time
from pathlib import Path
from emflow_emulator.child import Child
child = Child("core", "emflow_emulator.core", sys.argv[2:], Path(sys.argv[1]))
print(json.dumps(child.ready() | {"pid": child.pid}), flush=True)
time.sleep(600)
"""


@pytest.fixture
def parent(
    cloud: Cloud, access_file: Path, root: Path, tmp_path: Path
) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], int]]]:
    """Start a process that starts the device, as `emflow up` does; that process, and the device's id."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*more: str, root: Path = root) -> tuple[subprocess.Popen[bytes], int]:
        args = ["--thing", "orphan", "--root", str(root), "--endpoint-url", cloud.endpoint_url, *more]
        args += ["--access", str(access_file), "--mqtt", f"127.0.0.1:{cloud.mqtt_port}"]
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(tmp_path / "log"), *args],
            stdout=subprocess.PIPE,
        )
        started.append(parent)
        assert parent.stdout
        facts: dict[str, Any] = json.loads(parent.stdout.readline())
        return parent, facts["pid"]

    yield start
    for each in started:
        each.kill()
        each.wait()
        assert each.stdout
        each.stdout.close()


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder such as `emflow up` makes."""
    folder = Path(tempfile.mkdtemp(prefix="emflow-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_it_ends_when_its_parent_is_killed(root: Path, parent: Callable[..., Any]) -> None:
    process, core = parent()
    process.kill()

    until(lambda: not alive(core))
    assert not (root / "ipc.socket").exists()


def test_the_folder_goes_when_the_parent_is_killed(temporary: Path, parent: Callable[..., Any]) -> None:
    process, core = parent("--remove", str(temporary), root=temporary / "core")
    assert (temporary / "core/config").is_dir()
    process.kill()

    until(lambda: not temporary.exists())
    until(lambda: not alive(core))


def test_the_folder_of_a_killed_device_stays_until_its_parent_ends(temporary: Path, parent: Callable[..., Any]) -> None:
    process, core = parent("--remove", str(temporary), root=temporary / "core")
    os.kill(core, signal.SIGKILL)
    until(lambda: not alive(core))
    assert (temporary / "core/config").is_dir()
    process.kill()

    until(lambda: not temporary.exists())


def test_the_folder_is_the_parents_when_it_ends_the_device(start: Callable[..., Child], temporary: Path) -> None:
    child = start("tidy", root=str(temporary / "core"), remove=str(temporary))
    child.ready()
    child.stop()

    assert (temporary / "core/config").is_dir()


@pytest.mark.parametrize("name", ["", "other", "emflow-x/deeper", "../emflow-x", "emflow-not-there", "emflow-link"])
def test_no_other_folder_is_removed(
    start: Callable[..., Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place = tmp_path / "tmp"
    for each in ("tmp/other", "tmp/emflow-x/deeper", "emflow-x"):
        (tmp_path / each).mkdir(parents=True)
    (place / "emflow-link").symlink_to(tmp_path)
    monkeypatch.setenv("TMPDIR", str(place))
    with pytest.raises(Problem, match=r"is not a folder emflow-|is a link"):
        start("careful", remove=f"{place}/{name}").ready()


def test_a_folder_that_is_too_deep_for_a_socket_is_a_problem(start: Callable[..., Child], tmp_path: Path) -> None:
    with pytest.raises(Problem, match="too long a path") as caught:
        start("deep", root=str(tmp_path / ("x" * 120))).ready()
    assert "nearer to the root" in caught.value.mend


def test_a_cloud_that_is_not_there_is_a_problem(start: Callable[..., Child]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(Problem, match=f"nothing answers at {url}"):
            start("lonely", **{"endpoint-url": url}).ready()


def test_a_broker_address_that_is_none_is_a_problem(start: Callable[..., Child]) -> None:
    with pytest.raises(Problem, match="is not HOST:PORT"):
        start("lost", mqtt="nowhere").ready()


def test_a_broker_that_is_not_there_is_waited_for(cloud: Cloud, start: Callable[..., Child], root: Path) -> None:
    child = start("patient", mqtt="127.0.0.1:1")
    child.ready()
    until(lambda: any("Unable to connect to the MQTT broker" in line for line in lines(root / "logs/greengrass.log")))
    begun = time.monotonic()
    child.stop()

    assert time.monotonic() - begun < 15  # after 20 it would be killed
