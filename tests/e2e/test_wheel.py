"""What is in the wheel is enough: installed from it into an empty folder, everything that works offline works."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's contents in a folder that comes before everything else that is installed."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return folder


def run(installed: Path, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_it_carries_schemas_templates_wire_contract_and_demo(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "emflow_schema/workflow.schema.json",
        "emflow_schema/result.schema.json",
        "emflow_proto/agent.proto",
        "emflow/recipes/templates/application.recipe.yaml.j2",
        "emflow/workflow/explanations.toml",
        "emflow/workflows/demo.yaml",
        "emflow/workflows/models/scenes.tflite",
    } <= names
    assert not [name for name in names if name.startswith(("tests/", "tools/"))]


def test_the_packages_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    packages = "emflow, emflow_schema, emflow_edge, emflow_agent, emflow_proto"
    code = f"import {packages}; print(*(m.__file__ for m in ({packages})), sep='\\n')"
    done = run(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(installed)) for line in done.stdout.splitlines())


def test_validate_and_render_work_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    demo = installed / "emflow" / "workflows" / "demo.yaml"
    checked = run(installed, tmp_path, "-m", "emflow", "validate", str(demo))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    rendered = run(installed, tmp_path, "-m", "emflow", "render", str(demo), "-o", str(tmp_path / "out"))
    assert rendered.returncode == 0, rendered.stdout + rendered.stderr
    bundle = next((tmp_path / "out").rglob("*.zip"))
    assert {"emflow_edge/__main__.py", "emflow_proto/agent.binpb"} <= set(zipfile.ZipFile(bundle).namelist())


@pytest.mark.parametrize("module", ["emflow", "emflow_agent", "emflow_edge"])
def test_each_program_says_what_it_is_for(installed: Path, tmp_path: Path, module: str) -> None:
    done = run(installed, tmp_path, "-m", module, "--help")
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout
