"""What the command line takes: files that are neither plan nor workflow, rooms as targets, usage lines."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emflow.cli import COMMANDS
from emflow.cli.planning import select_resources
from emflow.problems import UsageProblem


@pytest.mark.parametrize("text", ["{", "[", "{}", "[]", '{"format": "emflow.pl', '{"a": 1}', "[" * 100_000])
def test_json_that_is_neither_plan_nor_workflow_is_reported_as_such(emflow, tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    ran = emflow("apply", "plan.json", "--yes")
    assert ran.code == 2
    assert ran.err.startswith("emflow: plan.json: this is neither a plan nor a workflow: ")


def test_a_workflow_in_json_with_an_error_is_reported_as_a_workflow(emflow, tmp_path: Path) -> None:
    (tmp_path / "workflow.json").write_text('{"apiVersion": "emflow/v1",')
    assert "workflow.json:1:" in emflow("apply", "workflow.json", "--yes").err


def test_a_plan_without_the_version_that_made_it_is_reported_as_such(emflow, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"format": "emflow.plan/v1"}')
    ran = emflow("apply", "plan.json", "--yes")
    assert ran.code == 2
    assert "without the version of emflow that made it" in ran.err
    assert "None" not in ran.err


def test_a_plan_that_is_a_pipe_is_refused_and_not_waited_for(emflow, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.json")
    ran = emflow("apply", "plan.json", "--yes")
    assert ran.code == 2
    assert "not a file, but a device or a pipe" in ran.err


def resources(**needs: str) -> Any:
    """Resources by id (`__` for the slash), each with what it needs."""
    return tuple(
        SimpleNamespace(id=name.replace("__", "/"), needs=frozenset(need.split()), releases=frozenset())
        for name, need in needs.items()
    )


ALL = resources(bucket__models="", model__compilation="bucket/models", model__package="model/compilation", fleet__it="")


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (["model"], ["bucket/models", "model/compilation", "model/package"]),
        (["model/"], ["bucket/models", "model/compilation", "model/package"]),
        (["fleet"], ["fleet/it"]),
        (["model/compilation", "fleet"], ["bucket/models", "model/compilation", "fleet/it"]),
    ],
)
def test_a_target_is_a_resource_or_all_of_a_group(target: list[str], kept: list[str]) -> None:
    assert [each.id for each in select_resources(ALL, target)] == kept


@pytest.mark.parametrize(
    ("target", "mend"),
    [
        ("modle", "did you mean `model`?"),
        ("model/pakage", "did you mean `model/package`?"),
        ("x", "one of: bucket/models"),
    ],
)
def test_an_unknown_target_is_reported_with_the_nearest(target: str, mend: str) -> None:
    with pytest.raises(UsageProblem, match=f"this workflow has no {target}") as caught:
        select_resources(ALL, [target])
    assert caught.value.mend.startswith(mend)


@pytest.mark.parametrize("command", [*COMMANDS, "captures list", "captures show", "captures export"])
def test_what_stands_for_a_value_is_in_capitals(emflow, command: str) -> None:
    shown = emflow(*command.split(), "--help").out
    usage = shown.splitlines()[0].removeprefix(f"Usage: emflow {command} ")
    assert usage == usage.upper()
    assert "[[" not in usage
    options = [line for line in shown.splitlines() if line.startswith("  -") and "<" in line.split("  ")[1]]
    assert [line for line in options if "<str>" in line or "range>" in line or "<path>" in line] == []
