"""The command line as a person runs it: a process of its own, its two outputs and its exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def emflow(tmp_path: Path) -> Callable[..., Ran]:
    """Run `emflow …` in a folder of its own; no command may ever show a traceback."""

    def run(*args: object, python: tuple[str, ...] = ()) -> Ran:
        command = [sys.executable, *python, "-m", "emflow", *map(str, args)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr + done.stdout
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def demo() -> Path:
    return ROOT / "workflows" / "demo.yaml"
