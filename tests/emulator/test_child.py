"""A child process as its parent sees it: whether it became ready, and why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from emflow.problems import Problem
from emflow_emulator.child import Child

AFTER_ITS_OUTPUT = """
import os, sys, time
os.close(1)
time.sleep(0.5)
print("fatal error: the port is in use", file=sys.stderr)
os._exit(3)
"""


def test_a_child_that_ends_at_once_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_early.py").write_text(AFTER_ITS_OUTPUT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = Child("early", "ends_early", [], tmp_path / "log")
    with pytest.raises(Problem, match="did not start: exit code 3; fatal error: the port is in use"):
        child.ready()


def test_a_child_that_only_closes_its_output_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closes_its_output.py").write_text("import os, sys\nos.close(1)\nsys.stdin.read()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("emflow_emulator.child._LAST_MOMENTS", 0.2)
    child = Child("silent", "closes_its_output", [], tmp_path / "log")
    with pytest.raises(Problem, match="it closed its output and was not ready"):
        child.ready()
    assert not child.running


def test_a_child_that_says_nothing_in_time_was_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "says_nothing.py").write_text("import sys\nsys.stdin.read()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = Child("slow", "says_nothing", [], tmp_path / "log")
    with pytest.raises(Problem, match="it was not ready within"):
        child.ready(0.2)
    assert not child.running
