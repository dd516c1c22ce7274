"""Files that a workflow or a command line names: what could be read without end, or hang, is refused at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emflow.problems import Problem, WorkflowProblem
from emflow.recipes.lint.findings import findings
from emflow.workflow.load import check
from emflow.workflow.source.safe_open import open_regular, read_regular, read_text


def made(path: Path, kind: str) -> Path:
    """A thing at `path` that is no regular file."""
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Problem, match="not a file") as caught:
        read_regular(made(tmp_path / "it", kind), 100)
    assert caught.value.where == str(tmp_path / "it")


def test_a_file_larger_than_its_kind_can_be_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(3 * 2**20)
    with pytest.raises(Problem, match="larger than 2 MiB"):
        read_regular(tmp_path / "large", 2 * 2**20)
    assert len(read_regular(tmp_path / "large", 3 * 2**20)) == 3 * 2**20


def test_a_file_that_does_not_say_how_large_it_is_is_read_no_further_than_it_may(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="larger than 0 MiB"):
        read_regular(Path("/proc/self/status"), 10)


def test_a_mark_of_byte_order_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbfone")
    assert read_text(tmp_path / "marked", 100) == "one"


def test_a_pipe_of_the_shell_is_read_where_that_was_asked_for() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"a: 1\n")
    os.close(writer)
    path = Path(f"/dev/fd/{reader}")
    with pytest.raises(Problem, match="a pipe"):
        open_regular(path, 100)
    with open_regular(path, 100, allow_pipe=True) as file:
        assert file.read() == b"a: 1\n"
    os.close(reader)


def test_a_workflow_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkflowProblem, match="not a file, but a device or a pipe"):
        check(made(tmp_path / "workflow.yaml", "fifo"))


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_an_unusable_file_of_devices_is_reported_at_its_key(small: Path, kind: str) -> None:
    made(small.parent / "devices.txt", kind)
    small.write_text(small.read_text().replace("  fleet:\n", "  fleet:\n    devices_file: devices.txt\n"))
    with pytest.raises(WorkflowProblem) as caught:
        check(small, root=Path("/"))
    (finding,) = [each for each in caught.value.findings if each.severity == "error"]
    assert "devices_file: devices.txt" in small.read_text().splitlines()[finding.line - 1]
    assert "devices.txt: the file of devices cannot be read: " in finding.message
    assert "not a file" in finding.message


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
@pytest.mark.parametrize("own", [False, True], ids=["edge.component", "components"])
def test_a_recipe_that_is_not_a_file_is_reported_at_its_key(small: Path, kind: str, own: bool) -> None:
    made(small.parent / "recipe.j2", kind)
    text = small.read_text()
    small.write_text(
        f"{text}components:\n  - name: com.example.X\n    recipe: recipe.j2\n"
        if own
        else text.replace("  capture:", "  component:\n    recipe: recipe.j2\n  capture:")
    )
    (finding,) = findings(check(small, root=Path("/")))
    assert "recipe: recipe.j2" in small.read_text().splitlines()[finding.line - 1]
    assert "recipe.j2: " in finding.message
    assert "not a file" in finding.message
