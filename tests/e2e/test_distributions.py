"""What is in the wheels is enough, and nothing in them is too much for whoever installs one without the others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from conftest import ROOT
from e2e.conftest import PROJECTS, build
from emflow import __version__

pytestmark = pytest.mark.e2e

PACKAGES = {
    "emflow-device": (
        "edge_component/emflow_agent",
        "edge_component/emflow_edge",
        "edge_component/emflow_runtime",
        "proto/emflow_proto",
        "schema/emflow_schema",
    ),
    "emflow-runner": ("runner/emflow",),
    "emflow-emulator": ("runner/emflow_emulator",),
}
NOT_OF_THE_PACKAGE = {"pyproject.toml", "README.md", "LICENSE", "hatch_build.py"}
"""What lies in the emulator's package folder because that is its project too."""


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def metadata(wheel: Path) -> str:
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    return archive.read(name).decode()


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels' contents in a folder that comes before everything else that is installed."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*pip, *map(str, wheels.values())], check=True, capture_output=True)
    return folder


def run(installed: Path, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheel_has_every_file_of_its_packages_and_no_other(wheels: dict[str, Path], name: str) -> None:
    files = {path for path in names(wheels[name]) if ".dist-info/" not in path}
    expected = set()
    for package in PACKAGES[name]:
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", package],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        inside = [Path(path).relative_to(Path(package).parent) for path in listed if (ROOT / path).is_file()]
        expected |= {path.as_posix() for path in inside if path.name not in NOT_OF_THE_PACKAGE}
    if name == "emflow-runner":
        models = [f"models/{path.name}" for path in (ROOT / "workflows" / "models").iterdir()]
        expected |= {f"emflow/workflows/{path}" for path in ("demo.yaml", *models)}
    assert files == expected
    assert any(path.endswith(".dist-info/licenses/LICENSE") for path in names(wheels[name]))


def test_each_asks_for_the_others_at_exactly_its_own_version(wheels: dict[str, Path]) -> None:
    asked = {
        name: re.findall(r"^Requires-Dist: (emflow\S*)$", metadata(wheel), re.MULTILINE)
        for name, wheel in wheels.items()
    }
    assert asked == {
        "emflow-device": [],
        "emflow-runner": [f"emflow-device=={__version__}"],
        "emflow-emulator": [f"emflow-device[agent,edge]=={__version__}", f"emflow-runner=={__version__}"],
    }
    assert f"Requires-Dist: emflow-emulator=={__version__}; extra == 'local'" in metadata(wheels["emflow-runner"])


def test_no_public_index_takes_this_version() -> None:
    assert "+" in __version__  # PEP 440: a local version, which PyPI refuses, so that nobody else's package can have it


def test_without_extras_the_device_needs_nothing(wheels: dict[str, Path]) -> None:
    needed = re.findall(r"^Requires-Dist: (.*)$", metadata(wheels["emflow-device"]), re.MULTILINE)
    assert needed
    assert all("extra == " in requirement for requirement in needed)


def test_the_licences_and_the_hooks_of_the_projects_are_the_same() -> None:
    licences = {(ROOT / project / "LICENSE").read_bytes() for project in PROJECTS.values()}
    hooks = {(ROOT / project / "hatch_build.py").read_bytes() for project in (".", "runner/emflow_emulator")}
    assert (len(licences), len(hooks)) == (1, 1)


@pytest.mark.parametrize("name", PROJECTS)
def test_the_same_source_makes_the_same_bytes(dist: Path, name: str, tmp_path: Path) -> None:
    build(ROOT / PROJECTS[name], tmp_path)
    again = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(again) == 2
    assert again == {name: (dist / name).read_bytes() for name in again}


@pytest.mark.parametrize("name", PROJECTS)
def test_the_wheel_of_the_repository_is_that_of_the_source_distribution(
    wheels: dict[str, Path], name: str, tmp_path: Path
) -> None:
    build(ROOT / PROJECTS[name], tmp_path, "--wheel")
    (directly,) = tmp_path.iterdir()
    assert names(directly) == names(wheels[name])
    assert metadata(directly) == metadata(wheels[name])


def test_a_source_distribution_builds_where_nothing_lies_beside_it(dist: Path, tmp_path: Path) -> None:
    for source in dist.glob("*.tar.gz"):
        with tarfile.open(source) as archive:
            archive.extractall(tmp_path, filter="data")
        build(tmp_path / source.name.removesuffix(".tar.gz"), tmp_path / "again")  # its own source distribution, too
    assert {path.name for path in (tmp_path / "again").iterdir()} == {path.name for path in dist.iterdir()}


def test_the_packages_come_from_the_wheels(installed: Path, tmp_path: Path) -> None:
    packages = "emflow, emflow_emulator, emflow_schema, emflow_edge, emflow_agent, emflow_runtime, emflow_proto"
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
    assert {"emflow_edge/__main__.py", "emflow_proto/agent.binpb"} <= names(bundle)
