"""What commands write is whole or not there: a full disk, a link, a pipe, permissions."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emflow.cli.output_files import write_atomically
from emflow.problems import Problem


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """As on a full disk: no file becomes larger than `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("good\n")
    with no_room_beyond(100), pytest.raises(Problem, match="cannot be written: File too large") as caught:
        write_atomically(path, bytes(1000), mend="elsewhere")
    assert (caught.value.where, caught.value.mend) == (str(path), "elsewhere")
    assert path.read_text() == "good\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_first_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with no_room_beyond(100), pytest.raises(Problem, match="cannot be written"):
        write_atomically(tmp_path / "plan.json", bytes(1000), mend="")
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_kept_and_a_private_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_text("old")
    path.chmod(0o640)
    write_atomically(path, b"new", mend="")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o640)
    write_atomically(path, b"secret", mend="", private=True)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"secret", 0o600)


def test_a_new_file_has_the_permissions_that_any_would_have(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    write_atomically(tmp_path / "deep" / "it", b"", mend="", folder=True)
    assert (tmp_path / "deep" / "it").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing yet"])
def test_a_link_stays_one_and_the_file_behind_it_is_written(tmp_path: Path, there: bool) -> None:
    (tmp_path / "behind").mkdir()
    target, link = tmp_path / "behind" / "it", tmp_path / "link"
    if there:
        target.write_text("old")
    link.symlink_to(target)
    write_atomically(link, b"new", mend="")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_what_is_no_file_is_written_into(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    write_atomically(Path(f"/dev/fd/{writer}"), b"new", mend="")
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"new"


def test_a_workflow_can_be_written_to_standard_output(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emflow", "init", "--yes", "--force", "-o", "/dev/stdout"]
    with (tmp_path / "all").open("wb") as output:
        assert subprocess.run(command, cwd=tmp_path, stdout=output, timeout=60).returncode == 0
    assert b"apiVersion" in (tmp_path / "all").read_bytes()


@pytest.mark.parametrize("args", [("init", "--yes", "--force"), ("render", "{demo}", "-o", ".")])
def test_a_command_on_a_full_disk_keeps_what_was_there(tmp_path: Path, demo: Path, args: tuple[str, ...]) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "configuration").mkdir()
    for name in ("workflow.yaml", "deployment.json"):
        (tmp_path / name).write_text("good\n")
    command = [sys.executable, "-m", "emflow", *(each.format(demo=demo) for each in args)]
    with no_room_beyond(100):
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert "cannot be written: File too large" in ran.stderr
    files = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"workflow.yaml": "good\n", "deployment.json": "good\n"}
