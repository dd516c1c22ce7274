"""`emflow render` into a folder that was rendered before: its own old files go, everybody else's stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from emflow.cli.output_files import RENDER_LIST, write_render_folder
from emflow.problems import Problem

FIRST = {
    "deployment.json": b"1",
    "recipes/com.A-1.0.0.yaml": b"1",
    "recipes/com.A-b-1.0.0.yaml": b"1",
    "artifacts/com.A/aa/artifacts.zip": b"1",
    "configuration/com.A.json": b"1",
}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_workflow_gives_the_same_folder_whatever_was_rendered_there_before(
    emflow, demo: Path, tmp_path: Path
) -> None:
    other = demo.with_name("own-component.yaml")
    assert emflow("render", other, "-o", "used").code == 0
    assert emflow("render", demo, "-o", "used").code == 0
    assert emflow("render", demo, "-o", "fresh").code == 0
    assert files(tmp_path / "used") == files(tmp_path / "fresh")
    assert sorted(tmp_path.joinpath("used").rglob("*")) == [
        tmp_path / "used" / path.relative_to(tmp_path / "fresh") for path in sorted((tmp_path / "fresh").rglob("*"))
    ]


def test_files_that_are_not_ours_stay(tmp_path: Path) -> None:
    mine = {"recipes/mine.yaml": b"mine", "notes.txt": b"mine"}
    (tmp_path / "recipes").mkdir()
    for name, data in mine.items():
        (tmp_path / name).write_bytes(data)
    write_render_folder(tmp_path, FIRST, (), None)
    write_render_folder(tmp_path, {"deployment.json": b"2"}, (), None)
    assert files(tmp_path) == {**mine, "deployment.json": b"2", RENDER_LIST: b"deployment.json\n"}
    assert not (tmp_path / "artifacts").exists()


def test_of_one_component_only_what_is_its_own_is_removed(tmp_path: Path) -> None:
    write_render_folder(tmp_path, FIRST, (), None)
    second = {"recipes/com.A-1.0.1.yaml": b"2", "artifacts/com.A/bb/artifacts.zip": b"2"}
    write_render_folder(tmp_path, second, (), "com.A")
    left = {name: FIRST[name] for name in ("deployment.json", "recipes/com.A-b-1.0.0.yaml")}
    listed = "".join(f"{name}\n" for name in sorted({**left, **second}))
    assert files(tmp_path) == {**left, **second, RENDER_LIST: listed.encode()}


def test_a_list_that_somebody_else_wrote_removes_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_text("theirs")
    out = tmp_path / "out"
    out.mkdir()
    (out / "recipes").symlink_to(tmp_path)
    (out / RENDER_LIST).write_text("recipes/../../outside.json\n/etc/hostname\nrecipes/outside.json\nnotes.txt\n")
    (out / "notes.txt").write_text("theirs")
    write_render_folder(out, {"deployment.json": b"1"}, (), None)
    assert (tmp_path / "outside.json").read_text() == "theirs"
    assert (out / "notes.txt").exists()


def test_after_a_render_that_failed_the_next_one_still_knows_what_is_old(tmp_path: Path) -> None:
    write_render_folder(tmp_path, FIRST, (), None)
    (tmp_path / "configuration" / "taken").write_text("a file")
    with pytest.raises(Problem, match="cannot be written"):
        write_render_folder(tmp_path, {"recipes/com.B-1.0.0.yaml": b"2", "configuration/taken/x.json": b"2"}, (), None)
    write_render_folder(tmp_path, {"deployment.json": b"3"}, (), None)
    assert files(tmp_path) == {
        "deployment.json": b"3",
        "configuration/taken": b"a file",
        RENDER_LIST: b"deployment.json\n",
    }
