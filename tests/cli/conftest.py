"""The command line as a person runs it: a process of its own, its two outputs and its exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.forking import Forking

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def forking() -> Iterator[Forking]:
    forking = Forking()
    yield forking
    forking.close()


@pytest.fixture
def emflow(tmp_path: Path, forking: Forking) -> Callable[..., Ran]:
    """Run `emflow …` in a folder of its own; no command may ever show a traceback.

    `python`: options of the interpreter, which is a new one then and not a fork.
    """

    def run(*args: object, python: tuple[str, ...] = ()) -> Ran:
        if python or not forking.can_run():
            command = [sys.executable, *python, "-m", "emflow", *map(str, args)]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
            ran = Ran(done.returncode, done.stdout, done.stderr)
        else:
            ran = Ran(*forking.run([str(each) for each in args], tmp_path, timeout=600))
        assert "Traceback" not in ran.err + ran.out
        return ran

    return run


@pytest.fixture
def demo() -> Path:
    return ROOT / "workflows" / "demo.yaml"
