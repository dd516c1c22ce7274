import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from emflow_agent.temporary_folders import remove_orphaned_folders, temporary_folder


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_folder_of_an_agent_that_was_killed_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os; from emflow_agent.temporary_folders import temporary_folder; f = temporary_folder();"
        " os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    (left,) = tmp_path.iterdir()
    assert left.stat().st_mode & 0o777 == 0o700
    remove_orphaned_folders()
    assert not left.exists()


def test_a_folder_whose_process_lives_is_left_alone(tmp_path: Path) -> None:
    with temporary_folder() as mine:
        remove_orphaned_folders()
        assert Path(mine).is_dir()
    assert not list(tmp_path.iterdir())


def test_a_process_number_that_came_again_does_not_keep_the_folder(tmp_path: Path) -> None:
    old = tmp_path / f"emflow-agent-{os.getpid()}-1-abc"
    old.mkdir()
    others = tmp_path / "emflow-agent-notes"
    others.mkdir()
    remove_orphaned_folders()
    assert not old.exists()
    assert others.exists()
