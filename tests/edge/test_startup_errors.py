"""A component that cannot run: one line, and the exit code that says why."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import PATIENCE, Process

if TYPE_CHECKING:
    from edge.conftest import Edge

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("package", "more"), [("grpc", ()), ("cv2", ()), ("awscrt", ("--publish", "mqtt://127.0.0.1:1")), ("numpy", ())]
)
def test_without_a_package_it_says_what_to_install(edge: "Edge", package: str, more: tuple[str, ...]) -> None:
    hides = edge.folder / "hides"
    hides.mkdir()
    (hides / f"{package}.py").write_text(f"raise ImportError('no {package} on this device')")
    component = edge.run("rtsp://127.0.0.1/1", *more, env={**os.environ, "PYTHONPATH": str(hides)})
    assert component.ended() == 1
    assert (
        component.text()
        .splitlines()[-1]
        .startswith(f"emflow-edge: no {package} on this device; install what it needs (extra edge): pip install ")
    )
    assert "Traceback" not in component.text()


def test_a_model_that_is_not_there_ends_it_with_one_line(edge: "Edge") -> None:
    edge.agent()
    _, url = edge.camera()
    component = edge.run(url, "-c", f"{edge.folder}/nothing/")
    assert component.ended() == 1
    (line,) = [line for line in component.text().splitlines() if line.startswith("emflow-edge: ")]
    assert line.startswith(f"emflow-edge: model scenes: the agent finds no model at {edge.folder}/nothing")
    assert "Traceback" not in component.text()


def test_labels_that_do_not_fit_the_model_end_it_with_one_line(edge: "Edge", tmp_path: Path) -> None:
    edge.agent()
    _, url = edge.camera()
    few = tmp_path / "few.txt"
    few.write_text("cat\n")
    component = edge.run(url, "--labels", str(few))
    assert component.ended() == 2
    assert f"emflow-edge: modelIO.labels: {few} has 1 lines, but the model has" in component.text()
    assert "Traceback" not in component.text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "net"], "modelComponentName: is missing (-c)"),
        (["-s", "rtsp://u:secret@:99999/1", "-m", "net", "-c", "m"], "rtspStreamURL: has no valid port"),
        (["--publish", "greengrass"], "--publish: greengrass is possible only in a component that Greengrass started"),
        (["--config", "/nowhere.json"], "--config: /nowhere.json cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_start_is_one_line_and_code_two(
    python: Callable[..., Process], arguments: list[str], message: str
) -> None:
    component = python("emflow_edge", *arguments)
    assert component.ended() == 2
    assert component.text() == f"emflow-edge: {message}\n"


def test_it_goes_with_its_exit_code_though_whoever_read_what_it_said_has_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    goes = "import sys; from emflow_edge.__main__ import _exit; sys.stdout.write('said'); _exit(3)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with os.fdopen(writer, "wb") as output:
        ended = subprocess.run(
            [sys.executable, "-c", goes], stdout=output, env=environment, timeout=PATIENCE, check=False
        )
    assert ended.returncode == 3
