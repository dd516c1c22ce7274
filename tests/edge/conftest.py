"""A camera and an agent as processes, and the edge component beside them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import PATIENCE, Process, free_port, until

if TYPE_CHECKING:
    from emflow_emulator.child import Child

MODEL_NAME = "scenes"


@pytest.fixture(autouse=True)
def time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A component's threads have to end, but on a busy machine not within the time that a board gives them."""
    for name in ("_JOIN_SECONDS", "_DRAIN_SECONDS", "_LOAD_SECONDS"):
        monkeypatch.setattr(f"emflow_edge.component.{name}", 30.0)


def written(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.text().splitlines(keepends=True) if re.match(r"\{.*\}\n", line)]


class Edge:
    """What an edge component needs, with a place for its model and its agent's socket."""

    def __init__(self, folder: Path, python: Callable[..., Process]) -> None:
        self.folder = folder
        self.model = folder / "model"
        # Short: a Unix socket's path holds about a hundred characters.
        self.socket = folder / "a.sock"
        self._python = python
        self._cameras: list[Child] = []

    def agent(self, *args: str, **options: object) -> Process:
        given = ("--socket", str(self.socket), "--fleet", "test", "--clean-stale-socket")
        agent = self._python("emflow_agent", *given, *args, **options)
        agent.says("Server listening on")
        return agent

    def camera(self, *args: str, port: int = 0) -> tuple[Child, str]:
        """A test camera and its URL."""
        from emflow_emulator.child import Child

        log = self.folder / f"camera-{len(self._cameras)}.log"
        camera = Child("camera", "emflow_emulator.camera", ["--port", str(port), *args], log)
        self._cameras.append(camera)
        url: str = camera.ready()["url"]
        return camera, url

    def run(self, url: str, *args: str, **options: object) -> Process:
        given = {"-s": url, "-c": f"{self.model}/", "-m": MODEL_NAME, "--agent-socket": str(self.socket)}
        flags = [text for flag, value in given.items() if flag not in args for text in (flag, value)]
        return self._python("emflow_edge", *flags, *args, **options)

    def results(self, process: Process, number: int, timeout: float = PATIENCE) -> list[dict[str, Any]]:
        """Wait until an edge component has written so many results to standard output; all that it has."""
        until(lambda: len(written(process)) >= number, timeout, f"{number} results")
        return written(process)

    def stop(self) -> None:
        for camera in self._cameras:
            camera.stop()


@pytest.fixture
def edge(tmp_path: Path, scenes_model: Path, python: Callable[..., Process]) -> Iterator[Edge]:
    edge = Edge(tmp_path, python)
    edge.model.mkdir()
    shutil.copy(scenes_model, edge.model)
    yield edge
    edge.stop()


@pytest.fixture
def absent_port() -> int:
    """A port that nothing listens on."""
    return free_port()
