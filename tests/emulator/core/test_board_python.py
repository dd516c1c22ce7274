"""The Python of the virtual core: made of what is installed, quickly, without a network, and once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from emflow.problems import Problem
from emflow_emulator.core import board_python
from emflow_emulator.core.layout import Layout

IMPORTS = "import av, cv2, grpc, numpy, awsiot.greengrasscoreipc.clientv2"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty HOME; the folder in it where packages are kept. They are large, so they are removed at the end."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield tmp_path / "home" / ".cache" / "emflow" / "board-packages"
    shutil.rmtree(tmp_path / "home", ignore_errors=True)
    shutil.rmtree(tmp_path / "core" / "board-packages", ignore_errors=True)


@pytest.fixture
def one_package(monkeypatch: pytest.MonkeyPatch) -> str:
    """Components need only this one, which is copied quickly."""
    monkeypatch.setattr(board_python, "COMPONENTS", ("protobuf",))
    monkeypatch.setattr(board_python, "AGENT", ())
    monkeypatch.setattr(board_python, "AGENT_IF_INSTALLED", ())
    return "import google.protobuf.message, google.protobuf; print(google.protobuf.__file__)"


def device(folder: Path, name: str = "core") -> Layout:
    layout = Layout(folder / name)
    layout.make()
    return layout


def make(layout: Layout) -> Path:
    """Make the Python of a device that ends at once."""
    with ExitStack() as in_use:
        return board_python.make(layout, in_use)


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
    assert make(layout) == layout.python / "bin"

    assert run(layout, IMPORTS).stderr == ""
    for name in ("boto3", "moto", "emflow", "emflow_edge", "emflow_schema", "ai_edge_litert", "pytest"):
        assert f"No module named {name!r}" in run(layout, f"import {name}").stderr
    assert len(list(cache.iterdir())) == 2


def test_the_agent_has_packages_that_components_do_not_see(tmp_path: Path, cache: Path) -> None:
    layout = device(tmp_path)
    make(layout)
    agent = {"PYTHONPATH": f"{layout.agent}:{layout.agent_packages}"}
    done = run(
        layout, "import boto3, ai_edge_litert, emflow_agent, emflow_proto; print(emflow_agent.__file__)", **agent
    )

    assert done.stdout.startswith(str(layout.agent)), done.stderr


def test_a_second_device_uses_the_same_packages(tmp_path: Path, cache: Path, one_package: str) -> None:
    first = device(tmp_path)
    make(first)
    kept = {folder.name: folder.stat().st_ino for folder in cache.iterdir()}
    assert run(first, one_package).returncode == 0  # which compiles the modules
    make(device(tmp_path, "second"))

    assert {folder.name: folder.stat().st_ino for folder in cache.iterdir()} == kept


def _remove_a_package(cache: Path) -> None:
    shutil.rmtree(next(cache.glob("*/google/protobuf")))


def _remove_a_file(cache: Path) -> None:
    next(cache.glob("*/google/protobuf/message.py")).unlink()


def _cut_a_file(cache: Path) -> None:
    os.truncate(next(cache.glob("*/google/protobuf/message.py")), 10)


def _write_a_file_of_the_same_size(cache: Path) -> None:
    file = next(cache.glob("*/google/protobuf/message.py"))
    file.write_bytes(b"#" * file.stat().st_size)


def _add_a_module(cache: Path) -> None:
    (next(cache.glob("*/google")).parent / "added.py").touch()


def _remove_the_list(cache: Path) -> None:
    next(cache.glob("*/emflow-files.json")).unlink()


@pytest.mark.parametrize(
    "change",
    [
        _remove_a_package,
        _remove_a_file,
        _cut_a_file,
        _write_a_file_of_the_same_size,
        _add_a_module,
        _remove_the_list,
    ],
)
def test_packages_that_were_changed_are_copied_again(
    tmp_path: Path, cache: Path, one_package: str, change: Callable[[Path], None]
) -> None:
    make(device(tmp_path))
    names = {each.name for each in cache.iterdir()}
    change(cache)
    second = device(tmp_path, "second")
    make(second)

    assert run(second, one_package).stdout.startswith(str(cache))
    assert run(second, "import added").returncode == 1
    assert {each.name for each in cache.iterdir()} == names


def test_no_file_is_one_of_emflows_own_installation(tmp_path: Path, cache: Path, one_package: str) -> None:
    make(device(tmp_path))
    own = Path(str(distribution("protobuf").locate_file("google/protobuf/message.py")))
    before = own.read_bytes()
    copied = next(cache.glob("*/google/protobuf/message.py"))
    copied.write_text("raise RuntimeError")  # as a component could

    assert own.read_bytes() == before
    files = [each for each in cache.glob("*/**/*") if each.is_file()]
    assert files
    assert {each.stat().st_nlink for each in files} == {1}
    assert not [each for each in files if each.is_symlink()]


@pytest.mark.parametrize("home", [None, "relative"])
def test_without_a_home_folder_the_packages_are_in_the_devices_folder(
    tmp_path: Path, cache: Path, one_package: str, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    def no_entry(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.setattr("pwd.getpwuid", no_entry)  # as for `docker run --user 4711`
    monkeypatch.chdir(tmp_path)
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home)
    layout = device(tmp_path)
    make(layout)

    assert run(layout, one_package).stdout.startswith(str(layout.root / "board-packages"))
    assert not (tmp_path / "relative").exists()


def test_nothing_that_is_made_may_be_written_by_others_whatever_the_umask_is(
    tmp_path: Path, cache: Path, one_package: str
) -> None:
    before = os.umask(0)
    try:
        layout = device(tmp_path)
        make(layout)
    finally:
        os.umask(before)

    homes = [cache, *cache.parents[:3]]
    assert tmp_path / "home" in homes
    own = [layout.root, layout.logs, layout.root / "work", layout.root / "packages", layout.configuration.parent]
    assert [str(each) for each in [*homes, *own, *cache.iterdir()] if each.stat().st_mode & 0o022] == []


def test_devices_that_start_at_the_same_time_share_one_folder(tmp_path: Path, cache: Path) -> None:
    layouts = [device(tmp_path, str(number)) for number in range(4)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(make, layouts))

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
    tmp_path: Path, elsewhere: Path, one_package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere))
    layout = device(tmp_path)
    make(layout)

    assert run(layout, one_package).stdout.startswith(str(elsewhere))


@pytest.mark.parametrize("why", ["a file is in the way", "others may write there"])
def test_without_a_cache_of_ones_own_the_packages_are_in_the_devices_folder(
    tmp_path: Path, cache: Path, one_package: str, why: str
) -> None:
    cache.parent.mkdir(parents=True)
    if why == "a file is in the way":
        cache.touch()
    else:
        cache.mkdir()
        cache.chmod(0o777)
    layout = device(tmp_path)
    make(layout)

    assert run(layout, one_package).returncode == 0
    assert list((layout.root / "board-packages").iterdir())
    assert cache.is_file() or not list(cache.iterdir())


def test_what_a_component_installs_stays_in_its_device(tmp_path: Path, cache: Path, one_package: str) -> None:
    wheel = tmp_path / "extra-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("extra.py", "")
        archive.writestr("extra-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
        archive.writestr("extra-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("extra-1.0.dist-info/RECORD", "extra.py,,\n")
    first, second = device(tmp_path), device(tmp_path, "second")
    for layout in (first, second):
        make(layout)
    pip = [str(first.python / "bin" / "pip3"), "install", "--no-index", "--no-deps", str(wheel)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})

    assert done.returncode == 0, done.stderr
    assert run(first, "import extra").returncode == 0
    assert run(second, "import extra").returncode == 1


def test_the_packages_that_were_not_used_for_the_longest_are_removed(
    tmp_path: Path, cache: Path, one_package: str
) -> None:
    cache.mkdir(parents=True)
    for age in range(9):
        (cache / f"old-{age}").mkdir()
        when = (cache / f"old-{age}").stat().st_mtime - age * 60
        os.utime(cache / f"old-{age}", (when, when))
    make(device(tmp_path))

    assert len(list(cache.iterdir())) == 8
    assert {each.name for each in cache.glob("old-*")} == {f"old-{age}" for age in range(6)}


def test_the_packages_of_a_running_device_are_never_removed(
    tmp_path: Path, cache: Path, one_package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, other = device(tmp_path, "running"), device(tmp_path, "other")
    with ExitStack() as in_use:
        board_python.make(running, in_use)
        before = set(cache.iterdir())
        for folder in before:
            os.utime(folder, (1, 1))
        monkeypatch.setattr(board_python, "_MOST", 1)
        monkeypatch.setattr(board_python, "COMPONENTS", ("packaging",))
        make(other)
        assert set(cache.iterdir()) > before
        assert run(running, one_package).returncode == 0
    make(other)
    assert not before <= set(cache.iterdir())


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_python, "COMPONENTS", ("no-such-package>=1",))

    with pytest.raises(Problem, match="components need no-such-package, which is not installed") as caught:
        make(device(tmp_path))
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
        make(device(tmp_path))
