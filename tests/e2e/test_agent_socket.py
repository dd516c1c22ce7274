"""A workflow that names no socket: on the virtual core, agent and component meet in the agent's work folder."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import ROOT
from emflow_schema.agent_socket import AGENT_COMPONENT, CORE_SOCKET
from support import Process, exported, until

pytestmark = pytest.mark.e2e

THING = "iMX8MPEVK-Core-001"
DEMO = ROOT / "workflows" / "demo.yaml"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for temporary files whose path is short, as a socket's is limited."""
    folder = Path(tempfile.mkdtemp(prefix="t-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_without_a_path_both_components_meet_in_the_agents_work_folder(
    python: Callable[..., Process], scratch: Path
) -> None:
    text = DEMO.read_text()
    shutil.copytree(DEMO.parent / "models", scratch / "models")
    line = f"    socket: {CORE_SOCKET}\n"
    assert line in text
    workflow = scratch / "demo.yaml"
    workflow.write_text(text.replace(line, ""))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ports = ["--port", "0", "--mqtt-port", "0"]
    local = python("emflow", "local", *ports, "--core", THING, env={**kept, "TMPDIR": str(scratch)})
    let_in = exported(local.says("Ctrl-C ends it"))

    apply = [sys.executable, "-m", "emflow", "apply", str(workflow), "--yes", "--wait"]
    done = subprocess.run(apply, env={**kept, **let_in}, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: list(scratch.rglob("agent.sock")), what="the socket")
    (socket,) = scratch.rglob("agent.sock")
    assert socket.parent.name == AGENT_COMPONENT
    assert not stat.S_IMODE(socket.parent.stat().st_mode) & 0o022
    logs = socket.parents[2] / "logs"
    until(lambda: "agent: model " in _all(logs), what=f"the model's load\n{_all(logs)}")


def _all(logs: Path) -> str:
    return "".join(file.read_text(errors="replace") for file in logs.glob("*.log"))
