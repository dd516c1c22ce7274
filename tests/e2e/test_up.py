"""`emflow up`: from one YAML file to results over MQTT, by the command that a user types."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import jsonschema
import pytest

import emflow_schema
from conftest import ROOT
from emflow_emulator.architecture import of_this_machine
from emflow_emulator.camera import scenes
from support import LONG_START, PATIENCE, belonging_to, exported, until

pytestmark = pytest.mark.e2e

DEMO = ROOT / "workflows" / "demo.yaml"
GONE = "the end of every process and folder of the run"
WORKSHOP = ROOT / "workflows" / "imx8mplus-mobilenetv2.yaml"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A short folder for temporary files: what is left in it was left behind. Unix sockets allow 107 bytes of path."""
    folder = Path(tempfile.mkdtemp(prefix="t-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    words(folder).unlink(missing_ok=True)


def words(scratch: Path) -> Path:
    """Where a run's words to people go: beside the folder, so that nothing of ours is in it."""
    return scratch.with_suffix(".err")


def start_up(scratch: Path, *args: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(scratch), "HOME": str(scratch / "home")}
    (scratch / "home").mkdir()
    command = [sys.executable, "-m", "emflow", "up", *args]
    with words(scratch).open("w") as errors:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)


def told(scratch: Path) -> str:
    """What the run had to say to people."""
    return words(scratch).read_text()


def exports(scratch: Path) -> dict[str, str]:
    """What another shell has to export to work with the run; waits until it says where that is."""
    until(lambda: "credentials   " in told(scratch), what="the file of credentials")
    return exported(next(scratch.glob("emflow-up-*/credentials.sh")).read_text())


def nothing_left(scratch: Path) -> bool:
    return not belonging_to(scratch) and [path.name for path in scratch.iterdir()] == ["home"]


def taken(result: dict[str, object]) -> float:
    return datetime.fromisoformat(str(result["frame_time"])).timestamp()


def test_the_demo_names_what_the_camera_showed_at_each_frames_time(scratch: Path) -> None:
    up = start_up(scratch, str(DEMO), "--json", "--results", "10")
    output, _ = up.communicate(timeout=LONG_START)
    assert up.returncode == 0, told(scratch)
    results = [json.loads(line) for line in output.splitlines()]
    assert len(results) == 10
    shown = [scenes.shown_at(taken(result), scenes.DWELL) for result in results]
    right = sum(result["label"] == scene for result, scene in zip(results, shown, strict=True))
    assert right >= 8, list(zip([result["label"] for result in results], shown, strict=True))
    # One a second, so ten results see several scenes; a component that always says the same would not get here.
    assert len(set(shown)) >= 4
    for result in results:
        jsonschema.validate(result, emflow_schema.load("result"))
        assert {type(result[key]) for key in ("index", "confidence", "performance", "model_name")} == {str}
        assert scenes.SCENES[int(result["index"])] == result["label"]
    until(lambda: nothing_left(scratch), what=GONE)


def test_a_device_of_another_architecture_says_so(scratch: Path) -> None:
    other = "aarch64" if of_this_machine() != "aarch64" else "arm"
    up = start_up(scratch, str(DEMO), "--json", "--results", "1", "--architecture", other)
    up.communicate(timeout=LONG_START)
    assert up.returncode == 0, told(scratch)
    (device,) = [line for line in told(scratch).splitlines() if line.startswith("  core device ")]
    assert f"(says that it is {other}; programs compiled for it do not run on this machine" in device


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ended_by_a_signal_it_leaves_nothing_behind(scratch: Path, number: int) -> None:
    up = start_up(scratch, str(DEMO), "--json")
    assert up.stdout is not None
    assert json.loads(up.stdout.readline())["stream"]
    assert len(belonging_to(scratch)) >= 5  # itself, cloud, camera, core, agent, component
    up.send_signal(number)
    up.communicate(timeout=PATIENCE)
    assert up.returncode == (0 if number == signal.SIGINT else 128 + signal.SIGTERM)
    until(lambda: nothing_left(scratch), what=GONE)


def test_ended_while_it_starts_it_leaves_nothing_behind(scratch: Path) -> None:
    up = start_up(scratch, str(DEMO), "--json")
    until(lambda: "embedded AWS" in told(scratch), what="the embedded AWS")
    up.send_signal(signal.SIGTERM)
    up.communicate(timeout=PATIENCE)
    until(lambda: nothing_left(scratch), what=GONE)


def test_killed_outright_it_leaves_nothing_either(scratch: Path) -> None:
    up = start_up(scratch, str(DEMO), "--json")
    assert up.stdout is not None
    up.stdout.readline()
    up.kill()
    up.wait(PATIENCE)
    until(lambda: nothing_left(scratch), what=GONE)
    up.stdout.close()


def test_the_workshop_recognises_an_orange(scratch: Path, shared_data: Path, tmp_path: Path) -> None:
    archive = tmp_path / "mobilenet_v2_1.0_224_quant.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite", "mobilenet_v2_1.0_224_quant.tflite")
    up = start_up(
        scratch,
        *(str(WORKSHOP), "--json", "--results", "2", "--camera", str(shared_data / "images" / "orange.png")),
        *("--root", "/", "--var", f"model_archive={archive}"),
        *("--var", f"labels={shared_data / 'models' / 'imagenet_labels_1001.txt'}"),
    )
    output, _ = up.communicate(timeout=LONG_START)
    assert up.returncode == 0, told(scratch)
    for result in map(json.loads, output.splitlines()):
        assert (result["index"], result["label"]) == ("950", "orange")
        assert result["model_name"] == "mobilenetv2-224-10-quant"
        assert float(result["confidence"]) > 0.5
    until(lambda: nothing_left(scratch), what=GONE)


def child_of(scratch: Path, module: str) -> int:
    """The process that runs a module of ours for a run with this temporary folder."""
    mark = f"TMPDIR={scratch}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if module.encode() in (process / "cmdline").read_bytes().split(b"\0") and mark in (
                process / "environ"
            ).read_bytes().split(b"\0"):
                return int(process.name)
        except OSError:
            continue
    pytest.fail(f"no process runs {module}")


@pytest.mark.parametrize("name", ["cloud", "core", "camera"])
def test_a_process_that_dies_ends_it_with_its_name(scratch: Path, name: str) -> None:
    up = start_up(scratch, str(DEMO), "--json")
    until(lambda: "Plan:" in told(scratch), what="the plan")
    os.kill(child_of(scratch, f"emflow_emulator.{name}"), signal.SIGKILL)
    up.communicate(timeout=PATIENCE)
    assert up.returncode == 1
    assert f"the {name} process ended by itself: SIGKILL" in told(scratch)
    # A killed core's orphan_cleanup outlives everybody, by a moment.
    until(lambda: nothing_left(scratch), what=GONE)


def test_a_thing_group_is_deployed_to_as_well(scratch: Path, tmp_path: Path, scenes_model: Path) -> None:
    text = DEMO.read_text().replace('target: {thing: "{{ vars.thing }}"}', "target: {thing_group: cameras}")
    workflow = tmp_path / "demo.yaml"
    shutil.copytree(scenes_model.parent, tmp_path / "models")
    workflow.write_text(text)
    up = start_up(scratch, str(workflow), "--json", "--results", "1")
    output, _ = up.communicate(timeout=LONG_START)
    assert up.returncode == 0, told(scratch)
    assert json.loads(output)["thing"] == "iMX8MPEVK-Core-001"
