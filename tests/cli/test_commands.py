"""The command table: help without imports, suggestions, version, and parts that are not installed."""

from __future__ import annotations

import importlib

import pytest
import typer

from emflow import __version__
from emflow.cli import COMMANDS, app
from emflow.problems import Problem, UsageProblem


def test_help_lists_every_command_with_a_line_and_imports_none(emflow) -> None:
    ran = emflow("--help", python=("-X", "importtime"))
    assert ran.code == 0
    for name, (_, about) in COMMANDS.items():
        assert f"  {name} " in ran.out
        assert about in ran.out
    imported = {line.rpartition("|")[2].strip() for line in ran.err.splitlines()}
    assert not [name for name in imported if name.startswith(("emflow.cli.", "emflow.workflow", "boto"))]


def test_no_command_at_all_is_help(emflow) -> None:
    ran = emflow()
    assert "Usage: emflow" in ran.out + ran.err


def test_the_version(emflow) -> None:
    assert emflow("--version").out == f"emflow {__version__}\n"


def test_a_misspelt_command_is_told_with_the_nearest(emflow) -> None:
    ran = emflow("valdate")
    assert ran.code == 2
    assert "Did you mean 'validate'?" in ran.err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_of_the_table_is_there_and_has_help(emflow, name: str) -> None:
    module, _, function = COMMANDS[name][0].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    ran = emflow(name, "--help")
    assert ran.code == 0
    assert f"Usage: emflow {name}" in ran.out


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("emflow.nowhere:up", UsageProblem, "`emflow up` is not part of this installation"),
        ("not_installed_here:up", Problem, "`emflow up` needs the module not_installed_here"),
    ],
)
def test_a_part_that_is_not_installed_is_a_problem_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, where: str, error: type[Problem], message: str
) -> None:
    monkeypatch.setitem(COMMANDS, "up", (where, "Run"))
    with pytest.raises(error, match=message):
        typer.main.get_command(app)(["up", "--help"], standalone_mode=False)
