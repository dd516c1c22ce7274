"""File names that are not UTF-8: one message with the name, escaped, and the rest goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.test_captures import folder  # noqa: F401 a fixture

ODD = os.fsdecode(b"odd\xff")
SHOWN = "odd\\xff"


@pytest.fixture
def flows(demo: Path, tmp_path: Path) -> Path:
    """The example workflows in a folder of their own."""
    try:
        (tmp_path / ODD).touch()
    except OSError as error:
        pytest.skip(f"this file system takes names in UTF-8 only: {error}")
    (tmp_path / ODD).unlink()
    shutil.copytree(demo.parent, tmp_path / "flows")
    return tmp_path / "flows"


def said_once(ran: object, name: str = SHOWN) -> str:
    out, err = ran.out, ran.err  # type: ignore[attr-defined]
    assert "bug in emflow" not in err, err
    (line,) = [line for line in (out + err).splitlines() if name in line]
    return line


def test_a_file_of_a_component_is_refused_with_its_name(emflow: Callable[..., object], flows: Path) -> None:
    (flows / "components" / "heartbeat" / "artifacts" / f"{ODD}.py").write_text("x")
    for command in (["validate"], ["render", "--stdout"]):
        ran = emflow(*command, flows / "own-component.yaml")
        line = said_once(ran, f"{SHOWN}.py")
        assert "components[0].artifacts: a file name that is not UTF-8" in line
        assert ran.code != 0  # type: ignore[attr-defined]


def test_a_hidden_file_with_such_a_name_is_left_out_as_any_other(emflow: Callable[..., object], flows: Path) -> None:
    (flows / "components" / "heartbeat" / "artifacts" / f".{ODD}").write_text("x")
    assert emflow("validate", flows / "own-component.yaml").code == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["text", "json", "github", "sarif"])
@pytest.mark.parametrize("wrong", [False, True], ids=["right", "wrong"])
def test_a_workflow_may_have_any_name_in_every_format(
    emflow: Callable[..., object], flows: Path, form: str, wrong: bool
) -> None:
    text = (flows / "demo.yaml").read_text()
    (flows / f"{ODD}.yaml").write_text(text.replace("metadata:", "metadat:") if wrong else text)
    for pattern in (flows / f"{ODD}.yaml", flows / "o*.yaml"):
        ran = emflow("validate", "--format", form, pattern)
        assert ran.code == (2 if wrong else 0), ran.err  # type: ignore[attr-defined]
        out: str = ran.out  # type: ignore[attr-defined]
        out.encode()
        if form == "json":
            paths = {each["path"] for each in json.loads(out)["files"]}
            assert str(flows / f"{ODD}.yaml") in paths
        elif form == "sarif":
            json.loads(out)
            assert "odd%FF.yaml" in out
        elif form == "text" or wrong:
            assert f"{SHOWN}.yaml" in out


def test_a_workflow_in_such_a_folder_is_rendered_there(emflow: Callable[..., object], flows: Path) -> None:
    moved = flows.rename(flows.with_name(ODD))
    ran = emflow("render", moved / "own-component.yaml", "-o", moved / "out", "--root", moved)
    assert ran.code == 0, ran.err  # type: ignore[attr-defined]
    assert f"{SHOWN}/out/deployment.json" in ran.out  # type: ignore[attr-defined]


def test_a_root_with_such_a_name_is_named_once(emflow: Callable[..., object], flows: Path) -> None:
    ran = emflow("validate", flows / "demo.yaml", flows / "own-component.yaml", "--root", flows / ODD)
    assert "there is no such folder" in said_once(ran)
    assert ran.code == 2  # type: ignore[attr-defined]


def test_captures_under_such_names_are_listed_and_exported(
    emflow: Callable[..., object],
    folder: Path,  # noqa: F811
    flows: Path,
) -> None:
    batch = next(folder.rglob("*.jsonl"))
    (batch.parent / f"{ODD}.jsonl").write_text("{\n" + batch.read_text())
    listed = emflow("captures", "list", folder)
    assert (listed.code, f"{SHOWN}.jsonl, line 1: not a capture" in listed.err) == (0, True)  # type: ignore[attr-defined]
    ran = emflow("captures", "export", folder, flows / ODD)
    assert ran.code == 0, ran.err  # type: ignore[attr-defined]
    assert f"/{SHOWN}/" in ran.out  # type: ignore[attr-defined]
    json.loads(emflow("captures", "export", folder, flows / ODD, "--json").out)  # type: ignore[attr-defined]


@pytest.mark.parametrize("option", ["--name", "--thing", "--topic", "--camera"])
def test_an_answer_that_is_not_utf_8_is_refused(emflow: Callable[..., object], flows: Path, option: str) -> None:
    ran = emflow("init", "-o", flows / "new.yaml", "--yes", option, ODD)
    assert (ran.code, said_once(ran)) == (2, f"emflow: {option}: {SHOWN} is not UTF-8")  # type: ignore[attr-defined]
    assert not (flows / "new.yaml").exists()


def test_a_workflow_can_be_written_under_any_name(emflow: Callable[..., object], flows: Path) -> None:
    ran = emflow("init", "-o", flows / f"{ODD}.yaml", "--yes")
    assert ran.code == 0, ran.err  # type: ignore[attr-defined]
    assert emflow("validate", flows / f"{ODD}.yaml").code == 0  # type: ignore[attr-defined]


def test_a_value_that_is_not_utf_8_is_refused_and_not_shown(emflow: Callable[..., object], flows: Path) -> None:
    ran = emflow("validate", flows / "demo.yaml", "--var", f"prefix={ODD}")
    assert (ran.code, "the value of prefix is not UTF-8" in ran.err) == (2, True)  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ['"a\\ud800b"', '{"a\\udcff": 1}'])
def test_half_a_character_in_a_workflow_is_refused_at_its_position(
    emflow: Callable[..., object], flows: Path, text: str
) -> None:
    own = flows / "own-component.yaml"
    own.write_text(own.read_text().replace("topic: em/heartbeat", f"topic: {text}"))
    ran = emflow("validate", own)
    assert ran.code == 2  # type: ignore[attr-defined]
    line = own.read_text()[: own.read_text().index(text)].count("\n") + 1
    assert f"own-component.yaml:{line}:" in ran.out  # type: ignore[attr-defined]
    assert "EM004" in ran.out  # type: ignore[attr-defined]
