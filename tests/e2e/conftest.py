"""What tests of the whole share: what `make dist` builds, built once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

# Our distributions, and where their projects are.
PROJECTS = {"emflow-device": "edge_component", "emflow-runner": ".", "emflow-emulator": "runner/emflow_emulator"}


def build(project: Path, folder: Path, *options: str) -> None:
    """A source distribution, and the wheel that is made of it."""
    command = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(folder), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels and source distributions of all three."""
    folder = tmp_path_factory.mktemp("dist")
    for project in PROJECTS.values():
        build(ROOT / project, folder)
    return folder


@pytest.fixture(scope="session")
def wheels(dist: Path) -> dict[str, Path]:
    """The wheels by their distributions' names."""
    return {name: next(dist.glob(f"{name.replace('-', '_')}-*.whl")) for name in PROJECTS}
