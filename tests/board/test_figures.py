"""A board's figures: each preset has all of them with their sources, and a mapping overrides them."""

from __future__ import annotations

from dataclasses import fields
from importlib.resources import files
from typing import Any

import pytest

from board.conftest import IMX8MPLUS, board
from emflow.board.figures import BoardFigures, figures_of, preset
from emflow.problems import WorkflowProblem
from emflow.workflow.load import check
from emflow.workflow.model import Board, convert, plain_values
from emflow_schema.board import PRESETS
from emflow_schema.key import field_of


def test_every_preset_has_a_file_and_every_file_is_one() -> None:
    names = [path.name.removesuffix(".toml") for path in files("emflow.board").joinpath("presets").iterdir()]
    assert sorted(names) == sorted(PRESETS)
    assert field_of(Board, "preset").shape.choices == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_every_figure_of_a_preset_has_its_source_and_a_value_that_a_workflow_may_have(name: str) -> None:
    figures = preset(name)
    assert set(figures) == {each.name for each in fields(BoardFigures)} - {"name", "provides"}
    for key, figure in figures.items():
        assert figure.source
        shape = field_of(Board, key).shape
        assert not shape.choices or figure.value in shape.choices
    assert sum("https://" in figure.source for figure in figures.values()) >= len(figures) - 1


def test_a_mapping_overrides_its_preset_key_by_key() -> None:
    old = board(python="3.10", glibc="2.35", nucleus="classic", name="line-3")
    assert (old.name, old.python, old.glibc, old.nucleus) == ("line-3", "3.10", "2.35", "classic")
    assert (old.architecture, old.tflite, old.delegate) == ("aarch64", "tflite-runtime", "vx")


def test_without_a_preset_the_generic_board_of_the_architecture_counts() -> None:
    assert figures_of(Board(architecture="amd64")) == figures_of(Board(preset="generic-amd64", name=None)).__class__(
        **{**vars(figures_of(Board(preset="generic-amd64"))), "name": ""}
    )


def test_what_the_image_provides_makes_it_both_unless_the_workflow_says_otherwise() -> None:
    assert IMX8MPLUS.packages == "bundled"
    assert board(provides={"numpy": "1.26.4"}).packages == "both"
    assert board(provides={"numpy": "1.26.4"}, packages="image").packages == "image"


@pytest.mark.parametrize("written", ["imx8mplus", "{preset: imx8mplus}"])
def test_a_text_stands_for_the_preset(workflow: Any, written: str) -> None:
    loaded = check(workflow(written)).workflow
    assert loaded.edge.board == Board(preset="imx8mplus")
    assert convert(plain_values(loaded)) == loaded


def test_a_workflow_without_a_board_has_none(workflow: Any) -> None:
    assert check(workflow(None)).workflow.edge.board is None


@pytest.mark.parametrize(
    ("written", "code", "message"),
    [
        ("imx9", "EM024", "edge.board cannot be 'imx9'"),
        ("[imx8mplus]", "EM022", "edge.board has to be a mapping of keys or a text, this is a list"),
        ("{preset: imx8mplus, python: 3.11}", "EM022", "edge.board.python has to be a text, this is the number 3.11"),
        ('{preset: imx8mplus, python: "2.7"}', "EM024", "edge.board.python cannot be '2.7'"),
        ('{preset: imx8mplus, glibc: "3"}', "EM024", "edge.board.glibc cannot be '3'"),
        ("{preset: imx8mplus, pyton: x}", "EM020", "unknown key `pyton` in edge.board"),
        ("{}", "EM082", "a board has a preset or an architecture"),
        ("{architecture: arm}", "EM023", "edge.board.architecture cannot be 'arm'"),
        ("{preset: imx8mplus, provides: {numpy: new}}", "EM024", "edge.board.provides.numpy cannot be 'new'"),
        ("{preset: imx8mplus, provides: {cv2.so: 4.10.0}}", "EM024", "cv2.so"),
        ("{preset: imx8mplus, provides: {onnxruntime: 1.20.0}}", "EM082", "works with the image's numpy only"),
        (
            "{preset: imx8mplus, packages: bundled, provides: {numpy: 1.26.4}}",
            "EM082",
            "bundled takes nothing from the image",
        ),
    ],
)
def test_a_mistake_about_the_board_is_one_finding(workflow: Any, written: str, code: str, message: str) -> None:
    with pytest.raises(WorkflowProblem) as refused:
        check(workflow(written))
    (finding,) = [each for each in refused.value.findings if each.severity == "error"]
    assert finding.code == code
    assert message in finding.message
    assert finding.line == (workflow(written).read_text().splitlines().index(f"  board: {written}") + 1)


def test_a_wrong_board_hides_no_other_mistake(workflow: Any) -> None:
    path = workflow("imx9")
    path.write_text(path.read_text().replace("every: ", "every: soon # ", 1))
    with pytest.raises(WorkflowProblem) as refused:
        check(path)
    codes = {each.code for each in refused.value.findings if each.severity == "error"}
    assert {"EM024"} < codes | {"x"}
    assert len([each for each in refused.value.findings if each.severity == "error"]) == 2
