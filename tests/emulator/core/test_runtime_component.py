"""The Runtime component on the virtual core, whose Python has no packages: it installs, and agent and application run.

The wheels are the real ones for this machine, so this needs the package index.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import IN_CI
from emflow.board.figures import MACHINES, BoardFigures, figures_of
from emflow.board.lock import Lock, made_for
from emflow.board.requirements import device_requirements
from emflow.board.resolver import resolve
from emflow.board.wheels import fetch
from emflow.problems import Problem
from emflow.recipes.bundle import package_files
from emflow.recipes.runtime_component import RuntimeBundle, build_runtime, packages_folder, render_runtime
from emflow.recipes.sizes import runtime_size
from emflow.workflow.model import Board
from emflow_emulator.camera.scenes import draw
from emflow_emulator.core import board_python
from emulator.core.conftest import BUCKET, Cloud
from emulator.core.pieces import Listener, lines, publishing
from support import until

pytestmark = pytest.mark.e2e

RUNTIME = "com.example.Runtime"
PATIENCE = 400.0
CODE = ("emflow_agent", "emflow_edge", "emflow_proto", "emflow_runtime", "emflow_schema")


def lock_of(board: BoardFigures) -> Lock:
    """The board's lock, from the package index."""
    requirements = device_requirements(board)
    try:
        found = resolve(board, requirements)
    except Problem as problem:
        if "cannot be reached" in problem.what and not IN_CI:
            pytest.skip(str(problem))
        raise
    return replace(made_for(board, requirements), locked=found.locked, installer=found.installer)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> RuntimeBundle:
    """The Runtime component for this machine."""
    architecture = next(name for name, machine in MACHINES.items() if machine == platform.machine())
    python, glibc = "{}.{}".format(*sys.version_info[:2]), (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[-1]
    lock = lock_of(figures_of(Board(architecture=architecture, python=python, glibc=glibc)))  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("runtime")
    return build_runtime(lock, fetch(lock, folder), folder / "emflow-runtime.zip")


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual core whose Python has no packages."""
    for needs in ("COMPONENTS", "AGENT", "AGENT_IF_INSTALLED"):
        monkeypatch.setattr(board_python, needs, ())


def put_runtime(cloud: Cloud, runtime: RuntimeBundle) -> str:
    """Publish the Runtime component; its version."""
    rendered = render_runtime(RUNTIME, runtime, BUCKET)
    key = f"artifacts/{RUNTIME}/{runtime.sha256}/{runtime.name}"
    cloud.s3.upload_file(str(runtime.path), BUCKET, key)
    arn = cloud.greengrass.create_component_version(inlineRecipe=rendered.checked().encode())["arn"]
    until(lambda: cloud.greengrass.describe_component(arn=arn)["status"]["componentState"] == "DEPLOYABLE")
    return rendered.known.version


def outcome(cloud: Cloud, thing: str, deployment: str) -> Mapping[str, Any]:
    """As that of the cloud, with the time that packages take."""

    def found() -> dict[str, Any]:
        listed = cloud.greengrass.list_effective_deployments(coreDeviceThingName=thing)["effectiveDeployments"]
        return next((dict(each) for each in listed if each["deploymentId"] == deployment), {})

    until(lambda: found().get("coreDeviceExecutionStatus") in ("SUCCEEDED", "FAILED"), timeout=PATIENCE)
    return found()


def starting(runtime: RuntimeBundle, zip_name: str, module: str, arguments: str) -> dict[str, Any]:
    """The lifecycle of a component that uses the packages."""
    folder = f"{{artifacts:decompressedPath}}/{zip_name}"
    packages = packages_folder(RUNTIME, runtime.digest)
    script = f'export PYTHONPATH="{folder}"\nexec python3 -u -m emflow_runtime.start "{packages}" {module} {arguments}'
    return {"run": {"Script": script}}


def test_agent_and_application_run_with_the_packages_of_the_runtime_component(
    cloud: Cloud,
    empty: None,
    make_device: Callable[..., Any],
    runtime: RuntimeBundle,
    scenes_model: Path,
    tmp_path: Path,
) -> None:
    device = make_device()
    bare = cloud.component("bare", lifecycle={"run": 'python3 -c "import numpy"'})
    failed = outcome(cloud, device.thing, cloud.deploy(device.arn, **{bare: "1.0.0"}))
    assert failed["reason"].splitlines()[-1] == "ModuleNotFoundError: No module named 'numpy'"

    film, model, socket = tmp_path / "film.avi", tmp_path / "model", device.layout.root / "a.sock"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 480))
    picture = draw("horizontal stripes", 640, 480, np.random.default_rng(1))
    for _ in range(30):
        writer.write(np.ascontiguousarray(picture[:, :, ::-1]))
    writer.release()
    model.mkdir()
    (model / scenes_model.name).write_bytes(scenes_model.read_bytes())
    labels = scenes_model.with_name("scenes_labels.txt")

    target = tmp_path / "code.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in (file for package in CODE for file in package_files(package)):
            archive.writestr(name, data)
    cloud.s3.upload_file(str(target), BUCKET, "code/code.zip")
    code = [{"Uri": f"s3://{BUCKET}/code/code.zip", "Unarchive": "ZIP"}]
    agent = cloud.component(
        "agent", artifacts=code, lifecycle=starting(runtime, "code", "emflow_agent", f'--socket "{socket}"')
    )
    flags = f'-s {film.as_uri()} -c "{model}/" -m scenes --agent-socket "{socket}" --labels "{labels}" --every 200ms'
    edge = cloud.component(
        "edge",
        artifacts=code,
        defaults=publishing("em/inference"),
        lifecycle=starting(runtime, "code", "emflow_edge", flags),
    )
    version = put_runtime(cloud, runtime)

    # Nothing orders them: the runtime component is no dependency of the others.
    with closing(Listener(cloud.broker, "em/inference")) as listener:
        deployment = cloud.deploy(device.arn, **{agent: "1.0.0", edge: "1.0.0", RUNTIME: version})
        ended = outcome(cloud, device.thing, deployment)
        assert ended["coreDeviceExecutionStatus"] == "SUCCEEDED", ended["reason"]
        results = [json.loads(listener.heard.get(timeout=120)[1]) for _ in range(3)]
    assert [result["label"] for result in results] == ["horizontal stripes"] * 3
    waited = f"emflow: waiting for the packages of {RUNTIME}"
    assert [line for line in lines(device.layout.log("agent")) if waited in line]

    installed = device.layout.work(RUNTIME) / runtime.digest
    taken = sum(-(-path.stat().st_size // 4096) * 4096 for path in installed.rglob("*") if path.is_file())
    assert taken <= runtime.installed
    assert runtime_size(RUNTIME, runtime).disk > taken + runtime.size


def test_a_board_with_another_python_fails_the_deployment_with_one_sentence(
    cloud: Cloud, empty: None, device: Any, runtime: RuntimeBundle, tmp_path: Path
) -> None:
    other = replace(runtime.lock, python="3.9", locked=(), packages="image", provides={}, installer=None)
    version = put_runtime(cloud, build_runtime(other, {}, tmp_path / "emflow-runtime.zip"))
    ended = outcome(cloud, device.thing, cloud.deploy(device.arn, **{RUNTIME: version}))
    here = "{}.{}".format(*sys.version_info[:2])
    assert ended["coreDeviceExecutionStatus"] == "FAILED"
    assert ended["reason"].splitlines()[-1] == (
        f'emflow: this board has Python {here}, and the packages are for Python 3.9; write python: "{here}" under '
        "edge.board of the workflow, run `emflow lock`, and apply again"
    )


@pytest.mark.parametrize("preset", ["imx8mplus", "generic-aarch64", "generic-amd64"])
def test_every_preset_can_be_locked_with_what_is_published_today(preset: Any) -> None:
    lock = lock_of(figures_of(Board(preset=preset)))
    names = {each.name for each in lock.locked}
    assert {"av", "awscrt", "grpcio", "numpy", "opencv-python-headless", "protobuf"} <= names
    assert ("tflite-runtime" in names) is (preset == "imx8mplus")
    if preset == "imx8mplus":
        assert {each.name: each.version for each in lock.locked}["numpy"].startswith("1.")
