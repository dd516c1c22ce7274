"""A bundle as the Runtime component has it, with small packages, and the install step as a component runs it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import emflow_runtime
from emflow_runtime.installation import MACHINES, glibc
from wheel_files import make_wheel, pip_wheel, sha256, unpacked_pip

PYTHON = "{}.{}".format(*sys.version_info[:2])
HERE = {"python": PYTHON, "architecture": MACHINES[platform.machine().lower()], "glibc": glibc() or "2.17"}
PACKAGES = {
    "alpha": {"alpha/__init__.py": b"import alpha.core\nVALUE = 1\n", "alpha/core.py": b"NUMBERS = list(range(9))\n"},
    "beta": {"beta.py": b"import alpha\nVALUE = alpha.VALUE + 1\n", "beta_data/big.bin": bytes(700_000)},
}


class Bundle:
    """The unpacked zip of the component, and the folder that it installs into."""

    def __init__(self, folder: Path, pip: Path, contents: Mapping[str, Mapping[str, bytes]], **board: Any) -> None:
        self.python = sys.executable
        self.root = folder / "bundle"
        self.work = folder / "work"
        (self.root / "wheels").mkdir(parents=True)
        self.work.mkdir(exist_ok=True)
        shutil.copytree(Path(emflow_runtime.__file__).parent, self.root / "emflow_runtime")
        (self.root / pip.name).symlink_to(pip)
        wheels = [make_wheel(self.root / "wheels", name, "1.0", files) for name, files in contents.items()]
        lines = [f"{wheel.name.split('-')[0]}==1.0 --hash=sha256:{sha256(wheel)}\n" for wheel in wheels]
        (self.root / "requirements.txt").write_text("".join(lines))
        self.board = {
            **HERE,
            "packages": "bundled",
            "provides": {},
            "requirements": [],
            "modules": {name: name for name in contents},
            "blocked": [],
            "wheels": [wheel.name for wheel in wheels],
            "bytes": 2_000_000,
            "digest": hashlib.sha256("".join(lines).encode()).hexdigest(),
            **board,
        }
        self.write_board()

    def write_board(self, **changes: Any) -> None:
        self.board.update(changes)
        (self.root / "board.json").write_text(json.dumps(self.board))

    @property
    def folder(self) -> Path:
        return self.work / str(self.board["digest"])

    @property
    def command(self) -> list[str]:
        """As the recipe has it."""
        return [
            *(self.python, "-I", "-B"),
            *(str(self.root / "emflow_runtime" / "install.py"), str(self.work)),
        ]

    def install(self, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command, capture_output=True, text=True, timeout=100, check=False, **options)

    def refusal(self, **options: Any) -> str:
        """The one sentence of an installation that fails, without the paths in it; nothing is complete after it."""
        done = self.install(**options)
        assert done.returncode == 1, done.stdout + done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("emflow: ")
        assert not self.folder.exists()
        assert not list(self.work.glob("*.partial"))
        return line.replace(str(self.work), "WORK")


class Program:
    """A component's files: the module `program`, which is started with the packages of a bundle."""

    def __init__(self, folder: Path, bundle: Bundle, code: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "program.py").write_text(code)
        self.env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{bundle.root}"}
        self._start = [sys.executable, "-u", "-m", "emflow_runtime.start"]
        self._runs = [str(bundle.folder), "program"]

    def command(self, *args: str, wait: str = "60") -> list[str]:
        return [*self._start, "--wait", wait, *self._runs, *args]

    def run(self, *args: str, wait: str = "60") -> subprocess.CompletedProcess[str]:
        command = self.command(*args, wait=wait)
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="session")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pip, unpacked: it starts sooner."""
    return unpacked_pip(tmp_path_factory.mktemp("pip"))


@pytest.fixture(scope="session")
def whole_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pip as a component has it: a wheel, which is run from its file."""
    return pip_wheel(tmp_path_factory.mktemp("whole-pip"))


@pytest.fixture
def bundle(tmp_path: Path, pip: Path) -> Bundle:
    return Bundle(tmp_path, pip, PACKAGES)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, pip: Path) -> Bundle:
    """One that is installed already; nobody changes it."""
    made = Bundle(tmp_path_factory.mktemp("installed"), pip, PACKAGES)
    done = made.install()
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def copy(tmp_path: Path, installed: Bundle) -> Bundle:
    """A copy of it, to be changed."""
    shutil.copytree(installed.root, tmp_path / "bundle", symlinks=True)
    shutil.copytree(installed.work, tmp_path / "work")
    made: Bundle = object.__new__(Bundle)
    vars(made).update(vars(installed), root=tmp_path / "bundle", work=tmp_path / "work", board=dict(installed.board))
    return made
