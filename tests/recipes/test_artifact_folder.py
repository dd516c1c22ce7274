"""A component's `artifacts` folder: what is in it goes up, and nothing from outside of it."""

from __future__ import annotations

import dataclasses
import io
import os
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from emflow.problems import Problem
from emflow.recipes.bundle import folder_bundle
from emflow.workflow import Workflow


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "run.sh").write_text("echo hello\n")
    (folder / "bin" / "run.sh").chmod(0o755)
    (folder / ".hidden").write_text("mine")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def bundled(demo: Workflow, files: Path) -> Callable[[], zipfile.ZipFile]:
    workflow = dataclasses.replace(demo, folder=str(files.parent))
    return lambda: zipfile.ZipFile(io.BytesIO(folder_bundle(workflow, "files", "components[0].artifacts").data))


def test_a_link_inside_becomes_a_copy_of_its_file(bundled: Callable[[], zipfile.ZipFile], files: Path) -> None:
    (files / "start").symlink_to("bin/run.sh")
    with bundled() as archive:
        assert archive.namelist() == ["bin/run.sh", "start"]
        assert archive.read("start") == b"echo hello\n"
        assert [info.external_attr >> 16 for info in archive.infolist()] == [0o100755, 0o100755]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/etc/passwd", "a link leads out of the folder, to /etc/passwd"),
        ("../outside/secret.txt", "a link leads out of the folder, to ../outside/secret.txt"),
        ("../outside", "a link leads out of the folder, to ../outside"),
        ("../files-too", "a link leads out of the folder"),
        ("bin", "a link leads to a folder, bin"),
        (".hidden", "a link leads to a hidden file, .hidden"),
        ("nothing", "cannot be read: No such file or directory"),
        ("link", "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_a_link_that_leads_elsewhere_is_refused(
    bundled: Callable[[], zipfile.ZipFile], files: Path, target: str, why: str
) -> None:
    (files / "link").symlink_to(target)
    with pytest.raises(Problem, match="components") as caught:
        bundled()
    assert caught.value.what.startswith(f"components[0].artifacts: {why}")
    assert caught.value.where == str(files / "link")


def test_a_link_to_a_link_that_leads_out_is_refused(bundled: Callable[[], zipfile.ZipFile], files: Path) -> None:
    (files / "b").symlink_to("../outside/secret.txt")
    (files / "a").symlink_to("b")
    with pytest.raises(Problem, match="leads out of the folder"):
        bundled()


@pytest.mark.parametrize("kind", ["fifo", "socket", "link to a fifo"])
def test_what_is_no_file_is_refused_and_not_left_out(
    bundled: Callable[[], zipfile.ZipFile], files: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(files)  # a socket's path is short
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("it")
    else:
        os.mkfifo("it" if kind == "fifo" else "pipe")
    if kind.startswith("link"):
        Path("it").symlink_to("pipe")
    with pytest.raises(Problem, match="not a file, but a device, a pipe or a socket") as caught:
        bundled()
    assert caught.value.where == str(files / "it")


def test_what_stays_behind_anyway_may_be_anything(bundled: Callable[[], zipfile.ZipFile], files: Path) -> None:
    (files / ".link").symlink_to("/etc/passwd")
    with bundled() as archive:
        assert archive.namelist() == ["bin/run.sh"]


def test_the_folder_itself_may_be_a_link(bundled: Callable[[], zipfile.ZipFile], files: Path) -> None:
    files.rename(files.with_name("real"))
    files.symlink_to("real")
    with bundled() as archive:
        assert archive.namelist() == ["bin/run.sh"]
