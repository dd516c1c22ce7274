"""The recording in docs/ can be made again, and shows what it promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

pytestmark = pytest.mark.e2e

TITLES = ["Plan", "Apply", "Apply again", "Drift", "Destroy"]


def titles(text: str) -> list[str]:
    return [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]


def test_it_is_made_again_from_real_runs(tmp_path: Path) -> None:
    output = tmp_path / "recording.md"
    script = str(ROOT / "tools" / "make_recording.py")
    done = subprocess.run(
        [sys.executable, script, "--output", str(output)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr + done.stdout
    text = output.read_text()
    assert titles(text) == TITLES
    assert "Applied: 13 created in " in text
    assert "0 changes: everything is as the workflow says." in text
    assert "      seconds: 43200 → 3600" in text
    assert text.rstrip().endswith("Nothing to remove.\n```")
    assert "/tmp" not in text
    assert "Traceback" not in text


def test_the_one_in_docs_has_the_same_parts() -> None:
    text = (ROOT / "docs" / "recording.md").read_text()
    assert titles(text) == TITLES
    assert "Traceback" not in text
