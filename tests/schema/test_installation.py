"""Advice on what to install: where this installation came from, and never a name that an index would answer for."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from emflow_schema.installation import FOLDERS, how_to_install
from emflow_schema.version import __version__

DISTRIBUTIONS = list(FOLDERS)


def recorded(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, origin: dict[str, Any]) -> None:
    """Only this distribution is installed, from there."""
    info = folder / "site" / f"{name.replace('-', '_')}-{__version__}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {__version__}\n")
    (info / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.setattr("sys.path", [str(folder / "site")])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "the checkout"
    for folder in FOLDERS.values():
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "pyproject.toml").touch()
    return root


def arguments(advice: str) -> list[str]:
    pip, install, *rest = shlex.split(advice.partition(" (in ")[0])
    assert (pip, install) == ("pip", "install")
    return rest


def test_from_a_checkout_it_names_the_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkout: Path) -> None:
    recorded(monkeypatch, tmp_path, "emflow-device", {"url": (checkout / "edge_component").as_uri(), "dir_info": {}})
    assert arguments(how_to_install("emflow-device", "agent")) == [f"{checkout}/edge_component[agent]"]
    folders = [f"{checkout}/edge_component", str(checkout), f"{checkout}/runner/emflow_emulator"]
    assert arguments(how_to_install("emflow-emulator")) == folders


def test_from_a_wheel_it_names_the_wheels_beside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheels = [tmp_path / f"{name.replace('-', '_')}-{__version__}-py3-none-any.whl" for name in DISTRIBUTIONS]
    for wheel in wheels:
        wheel.touch()
    recorded(monkeypatch, tmp_path, "emflow-runner", {"url": wheels[1].as_uri(), "archive_info": {}})
    assert arguments(how_to_install("emflow-emulator")) == [str(wheel) for wheel in wheels]
    wheels[2].unlink()
    assert arguments(how_to_install("emflow-emulator")) == ["./edge_component", ".", "./runner/emflow_emulator"]


def test_from_a_repository_it_names_that_at_the_same_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    origin = {"url": "https://git.example.com/emflow", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}
    recorded(monkeypatch, tmp_path, "emflow-runner", origin)
    repository = "git+https://git.example.com/emflow@abc123"
    assert arguments(how_to_install("emflow-device", "edge")) == [
        f"emflow-device[edge] @ {repository}#subdirectory=edge_component"
    ]
    assert arguments(how_to_install("emflow-runner"))[1] == f"emflow-runner @ {repository}"


@pytest.mark.parametrize(
    "origin", [{}, {"url": "file:///no/such/folder", "dir_info": {}}, [], {"url": "https://a/b.whl"}]
)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_from_elsewhere_it_names_paths_in_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, distribution: str, origin: Any
) -> None:
    recorded(monkeypatch, tmp_path, "emflow-device", origin)
    advice = how_to_install(distribution)
    assert advice.endswith(" (in a checkout of emflow's repository)")
    assert all(argument.startswith(".") for argument in arguments(advice))
