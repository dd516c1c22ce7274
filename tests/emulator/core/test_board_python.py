"""The Python of the virtual core: made of what is installed, quickly, without a network, and once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from emflow.problems import Problem
from emflow_emulator.core import board_python
from emflow_emulator.core.layout import Layout

IMPORTS = "import av, cv2, grpc, numpy, awsiot.greengrasscoreipc.clientv2"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HOME; the folder in it where packages are kept."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home" / ".cache" / "emflow" / "board-packages"


def device(folder: Path, name: str = "core") -> Layout:
    layout = Layout(folder / name)
    layout.make()
    return layout


def run(layout: Layout, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code with the device's Python, without any network and configuration."""
    command = (
        ["unshare", "-rn", layout.python / "bin" / "python3"] if _can_unshare() else [layout.python / "bin/python3"]
    )
    return subprocess.run([*command, "-c", code], env=variables, capture_output=True, text=True, check=False)


def _can_unshare() -> bool:
    return not subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode


def test_it_imports_what_a_board_has_and_nothing_else(tmp_path: Path, cache: Path) -> None:
    layout = device(tmp_path)
    assert board_python.make(layout) == layout.python / "bin"

    assert run(layout, IMPORTS).stderr == ""
    for name in ("boto3", "moto", "emflow", "emflow_edge", "emflow_schema", "ai_edge_litert", "pytest"):
        assert f"No module named {name!r}" in run(layout, f"import {name}").stderr
    assert len(list(cache.iterdir())) == 2


def test_the_agent_has_packages_that_components_do_not_see(tmp_path: Path, cache: Path) -> None:
    layout = device(tmp_path)
    board_python.make(layout)
    agent = {"PYTHONPATH": f"{layout.agent}:{layout.agent_packages}"}
    done = run(
        layout, "import boto3, ai_edge_litert, emflow_agent, emflow_proto; print(emflow_agent.__file__)", **agent
    )

    assert done.stdout.startswith(str(layout.agent)), done.stderr


def test_a_second_device_uses_the_same_packages(tmp_path: Path, cache: Path) -> None:
    board_python.make(device(tmp_path))
    kept = {folder.name: folder.stat().st_ino for folder in cache.iterdir()}
    (next(iter(cache.iterdir())) / "seen").touch()
    board_python.make(device(tmp_path, "second"))

    assert {folder.name: folder.stat().st_ino for folder in cache.iterdir()} == kept
    assert list(cache.glob("*/seen"))


def test_devices_that_start_at_the_same_time_share_one_folder(tmp_path: Path, cache: Path) -> None:
    layouts = [device(tmp_path, str(number)) for number in range(4)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(board_python.make, layouts))

    assert not list(cache.glob("new-*"))
    assert len(list(cache.iterdir())) == 2
    assert {run(layout, IMPORTS).returncode for layout in layouts} == {0}


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system, where files cannot be linked to."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == Path(sys.prefix).stat().st_dev:
        pytest.skip("no other file system to write to")
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


def test_packages_on_another_file_system_are_copied(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_python, "COMPONENTS", ("protobuf",))
    monkeypatch.setattr(board_python, "AGENT", ())
    monkeypatch.setattr(board_python, "AGENT_IF_INSTALLED", ())
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere))
    layout = device(tmp_path)
    board_python.make(layout)

    assert run(layout, "import google.protobuf; print(google.protobuf.__file__)").stdout.startswith(str(elsewhere))


@pytest.mark.parametrize("why", ["a file is in the way", "others may write there"])
def test_without_a_cache_of_ones_own_the_packages_are_in_the_devices_folder(
    tmp_path: Path, cache: Path, why: str
) -> None:
    cache.parent.mkdir(parents=True)
    if why == "a file is in the way":
        cache.touch()
    else:
        cache.mkdir()
        cache.chmod(0o777)
    layout = device(tmp_path)
    board_python.make(layout)

    assert run(layout, IMPORTS).returncode == 0
    assert list((layout.root / "board-packages").iterdir())
    assert cache.is_file() or not list(cache.iterdir())


def test_what_a_component_installs_stays_in_its_device(tmp_path: Path, cache: Path) -> None:
    wheel = tmp_path / "extra-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("extra.py", "")
        archive.writestr("extra-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
        archive.writestr("extra-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("extra-1.0.dist-info/RECORD", "extra.py,,\n")
    first, second = device(tmp_path), device(tmp_path, "second")
    for layout in (first, second):
        board_python.make(layout)
    pip = [str(first.python / "bin" / "pip3"), "install", "--no-index", "--no-deps", str(wheel)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})

    assert done.returncode == 0, done.stderr
    assert run(first, "import extra").returncode == 0
    assert run(second, "import extra").returncode == 1


def test_the_packages_that_were_not_used_for_the_longest_are_removed(tmp_path: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    for age in range(9):
        (cache / f"old-{age}").mkdir()
        when = (cache / f"old-{age}").stat().st_mtime - age * 60
        os.utime(cache / f"old-{age}", (when, when))
    board_python.make(device(tmp_path))

    assert len(list(cache.iterdir())) == 8
    assert {each.name for each in cache.glob("old-*")} == {f"old-{age}" for age in range(6)}


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_python, "COMPONENTS", ("no-such-package>=1",))

    with pytest.raises(Problem, match="components need no-such-package, which is not installed") as caught:
        board_python.make(device(tmp_path))
    assert "pip install" in caught.value.mend


def test_a_package_without_a_list_of_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unlisted(type(distribution("pytest"))):  # type: ignore[misc] # a distribution of this very interpreter
        def read_text(self, filename: str) -> str | None:
            return None if filename == "RECORD" else super().read_text(filename)

    def found(name: str) -> Distribution:
        installed = distribution(name)
        return Unlisted(installed._path) if name == "numpy" else installed  # type: ignore[attr-defined]

    monkeypatch.setattr(board_python, "distribution", found)
    with pytest.raises(Problem, match=r"numpy \S+ was installed without a list of its files"):
        board_python.make(device(tmp_path))
