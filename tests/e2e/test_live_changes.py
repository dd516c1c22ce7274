"""A workflow that changes while its component runs: what can change live does, and the process stays the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import ROOT
from emflow.results.message import Result
from emflow.results.subscriber import ResultSubscriber
from emflow_emulator.camera import scenes
from emflow_schema.agent_socket import CORE_SOCKET
from support import PATIENCE, Process, broker_user, exported, let_in, until

pytestmark = pytest.mark.e2e

THING = "iMX8MPEVK-Core-001"
TOPIC = f"em/live/{THING}/front"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A short folder: Unix sockets allow 107 bytes of path."""
    folder = Path(tempfile.mkdtemp(prefix="t-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def watch(
    python: Callable[..., Process], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ResultSubscriber]:
    """Watches topics of an `emflow local` with one core device; everything that the test starts goes there."""
    args = ("--port", "0", "--mqtt-port", "0", "--core", THING, "--job-seconds", "0.3")
    said = python("emflow", "local", *args, env={**os.environ, "TMPDIR": str(scratch)}).says("Ctrl-C ends it")
    broker, exports = re.search(r"MQTT broker +127\.0\.0\.1:(\d+)", said), exported(said)
    assert broker, said
    let_in(monkeypatch, exports)
    return lambda *topics: ResultSubscriber("127.0.0.1", int(broker[1]), *topics, **broker_user(exports))


@pytest.fixture
def file(scratch: Path, scenes_model: Path) -> Path:
    """The demo with a clip in the camera's place, and topics with places for names."""
    video = cv2.VideoWriter(str(scratch / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 240))
    for number in range(50):
        video.write(scenes.draw(scenes.SCENES[0], 320, 240, np.random.default_rng(number)))
    video.release()
    shutil.copytree(scenes_model.parent, scratch / "models")
    text = (ROOT / "workflows" / "demo.yaml").read_text()
    path = scratch / "live.yaml"
    path.write_text(text)
    change(path, "topic: em/inference ", 'topic: "em/live/{thing}/{stream}" ')
    change(
        path,
        f"socket: {CORE_SOCKET}",
        f"socket: {scratch}/agent.sock",
    )
    change(path, 'socket_mode: "0660"', 'socket_mode: "0600"')
    change(path, 'url: "{{ vars.camera }}"', f"url: file://{scratch}/clip.avi")
    return path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def apply(path: Path) -> str:
    command = [sys.executable, "-m", "emflow", "apply", str(path), "--yes", "--wait"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def component(scratch: Path, module: bytes = b"emflow_edge") -> int:
    """The process of the edge component on the virtual core, or of another module."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if module in words and f"TMPDIR={scratch}".encode() in environment.split(b"\0"):
            found.append(int(process.name))
    assert len(found) == 1
    return found[0]


def gap(watcher: ResultSubscriber) -> float:
    """Seconds between the frames of two results."""
    one, other = (watcher.next(PATIENCE) for _ in range(2))
    assert isinstance(one, Result)
    assert isinstance(other, Result)
    assert one.frame_time
    assert other.frame_time
    return (other.frame_time - one.frame_time).total_seconds()


def test_pace_threshold_and_capture_change_without_a_restart_and_a_topic_with_one(
    watch: Callable[..., ResultSubscriber], scratch: Path, file: Path
) -> None:
    apply(file)
    with watch(TOPIC, "em/other/front") as watcher:
        watcher.next(PATIENCE)
        until(lambda: 0.8 < gap(watcher) < 1.6, what="a result a second")
        before = component(scratch)
        # The open agent's own settings, on their way through AWS's component.
        assert stat.S_IMODE((scratch / "agent.sock").stat().st_mode) == 0o600

        change(file, "every: 1s  ", "every: 5 frames  ")
        change(file, "threshold: null", "threshold: 0.01")
        change(file, "enabled: false\n    every: 10s ", "enabled: true\n    every: 50 frames ")
        told = apply(file)
        assert "application/component" not in told
        until(lambda: gap(watcher) < 0.5, what="results of every fifth frame")
        assert component(scratch) == before

        change(file, "em/live/{thing}/{stream}", "em/other/{stream}")
        assert "application/component" in apply(file)
        assert component(scratch) != before


def test_status_knows_that_results_have_stopped_though_everything_runs(
    watch: Callable[..., ResultSubscriber], scratch: Path, file: Path
) -> None:
    change(file, "status_topic: null", 'status_topic: "em/status/{thing}"')
    change(file, "  metrics:\n    every: 1m", "  metrics:\n    every: 1s")
    apply(file)

    def status() -> tuple[int, dict[str, Any]]:
        command = [sys.executable, "-m", "emflow", "status", str(file), "--json", "--detailed-exitcode"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)["devices"][0]

    with watch(TOPIC) as watcher:
        watcher.next(PATIENCE)
    until(lambda: status()[0] == 0)
    _, device = status()
    assert device["application"]["status"] == "running"
    assert device["application"]["streams"][0]["last_result"]
    # An agent that hangs: its process is there, and Greengrass finds the device healthy.
    agent = component(scratch, b"emflow_agent")
    os.kill(agent, signal.SIGSTOP)
    try:
        until(lambda: status()[0] == 3)
        _, device = status()
        assert device["health"] == "HEALTHY"
        assert {each["state"] for each in device["components"]} <= {"RUNNING", "FINISHED"}
        (warning,) = device["application"]["warnings"]
        assert re.fullmatch(r"front has had no result for \d+ s: over 5 intervals \(1s\)", warning)
    finally:
        os.kill(agent, signal.SIGCONT)
    until(lambda: status()[0] == 0)
