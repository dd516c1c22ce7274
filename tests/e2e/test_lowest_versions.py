"""The lowest versions that are stated are enough: the host side works with them, the emulator's are to be had."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from conftest import ROOT

pytestmark = pytest.mark.e2e


def stated(folder: str) -> list[str]:
    """The dependencies of a distribution whose metadata hook fills in the version."""
    settings = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["tool"]["hatch"]
    return list(settings["metadata"]["hooks"]["custom"]["dependencies"])


HOST = [text for text in stated(".") if not text.startswith("emflow-")]
EMULATOR = [text for text in stated("runner/emflow_emulator") if not text.startswith("emflow-")]
DEVICE = tomllib.loads((ROOT / "edge_component" / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def floors(*lists: list[str]) -> list[str]:
    """Every package of the lists at its lowest version: the highest of those that the lists state."""
    lowest: dict[str, Version] = {}
    for requirement in map(Requirement, (text for texts in lists for text in texts)):
        bounds = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
        assert bounds, f"{requirement} has no lower bound"
        lowest[requirement.name] = max([*bounds, lowest.get(requirement.name, Version("0"))])
    return [f"{name}=={version}" for name, version in lowest.items()]


def pip(python: Path | str, *args: str) -> None:
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--only-binary=:all:", *args],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        offline = "ResolutionImpossible" not in done.stderr and "No matching distribution" not in done.stderr
        skip = offline and os.environ.get("CI") != "true"
        (pytest.skip if skip else pytest.fail)(f"cannot install {args}: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def emflow(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an installation with nothing newer than it has to be."""
    folder = tmp_path_factory.mktemp("lowest")
    venv.create(folder, with_pip=True)
    ours = (str(wheels["emflow-device"]), str(wheels["emflow-runner"]))
    pip(folder / "bin" / "python", *ours, *floors(HOST))
    return folder / "bin" / "emflow"


def run(emflow: Path, folder: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        [emflow, *args], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_the_lowest_versions_check_a_workflow_and_render_it(emflow: Path, tmp_path: Path) -> None:
    demo = ROOT / "workflows" / "demo.yaml"
    checked = run(emflow, tmp_path, "validate", "--format", "json", demo)
    assert (checked.returncode, '"ok": true' in checked.stdout) == (0, True), checked.stdout + checked.stderr
    rendered = run(emflow, tmp_path, "render", demo, "-o", tmp_path / "out")
    assert rendered.returncode == 0, rendered.stdout + rendered.stderr
    assert list((tmp_path / "out").rglob("*.zip"))


def test_the_lowest_versions_refuse_a_wrong_workflow_and_an_unknown_command(emflow: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("apiVersion: emflow/v1\nkind: Workflow\nnonsense: 1\n")
    checked = run(emflow, tmp_path, "validate", wrong)
    assert (checked.returncode, "unknown key `nonsense`" in checked.stdout + checked.stderr) == (2, True)
    assert run(emflow, tmp_path, "no-such-command").returncode == 2


def test_the_lowest_versions_of_the_emulator_can_be_installed_together() -> None:
    """Only resolved, not downloaded: no package asks for a newer one than is stated here."""
    lowest = floors(HOST, DEVICE["edge"], DEVICE["agent"], EMULATOR)
    pip(sys.executable, "--dry-run", "--ignore-installed", *EMULATOR, *lowest)
