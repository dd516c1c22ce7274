"""`emflow local --core`: the device's life beside the workflow commands, and its end at a bad moment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from conftest import ROOT
from emflow_emulator.architecture import of_this_machine
from support import Process, belonging_to, exported, let_in, until

pytestmark = pytest.mark.e2e

DEMO = ROOT / "workflows" / "demo.yaml"
THING = "iMX8MPEVK-Core-001"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A short folder for temporary files: what is left in it was left behind. Unix sockets allow 107 bytes of path."""
    folder = Path(tempfile.mkdtemp(prefix="t-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_device_of_another_architecture_takes_recipes_for_it(
    python: Callable[..., Process], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "aarch64" if of_this_machine() != "aarch64" else "arm"
    args = ("--port", "0", "--mqtt-port", "0", "--core", THING, "--architecture", other)
    local = python("emflow", "local", *args, env={**os.environ, "TMPDIR": str(scratch)})
    told = local.says("Ctrl-C ends it")
    assert f"  (says that it is {other}; programs compiled for it do not run on this machine" in told
    let_in(monkeypatch, exported(told))
    component("board-only", architecture=other, run="exec sleep 600")
    deploy("board-only")
    greengrass = boto3.client("greengrassv2")
    until(lambda: greengrass.list_installed_components(coreDeviceThingName=THING)["installedComponents"])


def test_a_device_as_the_lite_nucleus_takes_recipes_for_it(
    python: Callable[..., Process], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("--port", "0", "--mqtt-port", "0", "--core", THING, "--nucleus", "lite")
    local = python("emflow", "local", *args, env={**os.environ, "TMPDIR": str(scratch)})
    told = local.says("Ctrl-C ends it")
    assert "  (as the lite nucleus)" in told
    let_in(monkeypatch, exported(told))
    component("lite-only", runtime="aws_nucleus_lite", run="exec sleep 600")
    deploy("lite-only")
    greengrass = boto3.client("greengrassv2")
    until(lambda: greengrass.list_installed_components(coreDeviceThingName=THING)["installedComponents"])
    assert greengrass.get_core_device(coreDeviceThingName=THING)["runtime"] == "aws_nucleus_lite"


@pytest.fixture
def local(python: Callable[..., Process], scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    """An `emflow local` with one core device; this process's boto3 and everything it starts go there."""
    environment = {**os.environ, "TMPDIR": str(scratch)}
    args = ("--port", "0", "--mqtt-port", "0", "--core", THING, "--job-seconds", "0.3")
    local = python("emflow", "local", *args, env=environment)
    let_in(monkeypatch, exported(local.says("Ctrl-C ends it")))
    return local


def emflow(*args: str, code: int = 0) -> str:
    """Its output, when it ends with this code."""
    done = subprocess.run([sys.executable, "-m", "emflow", *args], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def component(name: str, architecture: str = "*", runtime: str = "*", **lifecycle: str) -> None:
    """A component version that can be deployed."""
    platform = {"os": "linux", "architecture": architecture, "runtime": runtime}
    greengrass = boto3.client("greengrassv2")
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": "1.0.0",
        "Manifests": [{"Platform": platform, "Lifecycle": lifecycle}],
    }
    arn = greengrass.create_component_version(inlineRecipe=json.dumps(recipe).encode())["arn"]
    until(lambda: greengrass.describe_component(arn=arn)["status"]["componentState"] == "DEPLOYABLE")


def deploy(*names: str) -> None:
    thing = boto3.client("iot").describe_thing(thingName=THING)["thingArn"]
    wanted: dict[str, Any] = {name: {"componentVersion": "1.0.0"} for name in names}
    boto3.client("greengrassv2").create_deployment(targetArn=thing, components=wanted)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ended_in_the_middle_of_a_deployment_it_leaves_nothing_behind(
    local: Process, scratch: Path, number: int
) -> None:
    component("quick", run="exec sleep 600")
    component("slow", install="(sleep 600 &); exec sleep 600")
    deploy("quick", "slow")
    until(lambda: sum("sleep 600" in line for line in belonging_to(scratch)) >= 3, what="scripts of the components")
    local.end(number)

    until(lambda: not belonging_to(scratch) and not list(scratch.iterdir()), what="the end of processes and folders")


def test_a_core_device_that_is_deleted_and_still_runs_takes_the_next_deployment(local: Process) -> None:
    greengrass = boto3.client("greengrassv2")
    emflow("apply", str(DEMO), "--yes", "--wait")
    told = emflow("destroy", str(DEMO), "--yes", "--delete-data", "--delete-core-device")
    # Whether it is gone cannot be asked: a core that still runs is there again as soon as it reports.
    assert f"device/core  {THING}" in re.sub(r" {2,}", "  ", told)
    emflow("destroy", str(DEMO), "--yes", "--delete-data", "--delete-core-device")

    emflow("apply", str(DEMO), "--yes", "--wait")
    assert greengrass.get_core_device(coreDeviceThingName=THING)["status"] == "HEALTHY"


def test_a_component_that_lacks_a_package_is_told_by_apply_and_status(local: Process, scratch: Path) -> None:
    shutil.copytree(DEMO.parent, scratch / "workflows")
    file = scratch / "workflows" / "own-component.yaml"
    program = file.parent / "components" / "heartbeat" / "artifacts" / "heartbeat.py"
    program.write_text("print('password=hunter2', flush=True)\nimport moto\n")
    last = ["        password=***", "        ModuleNotFoundError: No module named 'moto'"]

    told = emflow("apply", str(file), "--yes", "--wait", code=1).splitlines()
    shown = emflow("status", str(file)).splitlines()
    for output in (told, shown):
        stripped = [line.strip() for line in output]
        assert {line.strip() for line in last} <= set(stripped), output
        assert "hunter2" not in "".join(output)
