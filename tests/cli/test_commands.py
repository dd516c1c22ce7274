"""The command table: help without imports, suggestions, version, and parts that are not installed."""

from __future__ import annotations

import importlib
import re

import pytest

from emflow import __version__
from emflow.cli import COMMANDS, EMULATOR_COMMANDS, app, main
from emflow.cli.extensions import added_commands
from emflow.cli.log import stop_logging
from emflow.problems import Problem, UsageProblem


def test_help_lists_every_command_with_a_line_and_imports_none(emflow) -> None:
    ran = emflow("--help", python=("-X", "importtime"))
    assert ran.code == 0
    for name, (_, about) in COMMANDS.items():
        assert f"  {name} " in ran.out
        assert about in ran.out
    imported = {line.rpartition("|")[2].strip() for line in ran.err.splitlines()}
    ours = {
        name for name in imported if name.startswith(("emflow.cli.", "emflow_emulator.", "emflow.workflow", "boto"))
    }
    assert ours == {"emflow.cli.debug_option", "emflow.cli.extensions"}


def test_no_command_at_all_is_help(emflow) -> None:
    ran = emflow()
    assert "Usage: emflow" in ran.out + ran.err


def test_the_version(emflow) -> None:
    assert emflow("--version").out == f"emflow {__version__}\n"


def test_a_misspelt_command_is_reported_with_the_nearest(emflow) -> None:
    ran = emflow("valdate")
    assert ran.code == 2
    assert "Did you mean 'validate'?" in ran.err


@pytest.mark.parametrize("name", [*COMMANDS, *EMULATOR_COMMANDS])
def test_each_command_is_there_and_has_help(emflow, name: str) -> None:
    module, _, function = {**COMMANDS, **added_commands()}[name][0].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    ran = emflow(name, "--help")
    assert ran.code == 0
    assert f"Usage: emflow {name}" in ran.out
    assert '""' not in ran.out  # an empty text as a default says nothing


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("emflow.nowhere:plan", UsageProblem, "`emflow plan` is not part of this installation"),
        ("not_installed_here:plan", Problem, "`emflow plan` needs the module not_installed_here"),
    ],
)
def test_a_part_that_is_not_installed_is_a_problem_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, where: str, error: type[Problem], message: str
) -> None:
    monkeypatch.setitem(COMMANDS, "plan", (where, "Plan"))
    with pytest.raises(error, match=message):
        app(["plan", "--help"], standalone_mode=False)


@pytest.mark.parametrize("name", EMULATOR_COMMANDS)
def test_without_the_emulator_its_commands_say_what_to_install(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("emflow.cli.extensions.entry_points", lambda group: ())
    with pytest.raises(UsageProblem, match=f"`emflow {name}` is a command of emflow-emulator") as caught:
        app([name], standalone_mode=False)
    assert re.fullmatch(
        r"Install it with: pip install \S+/edge_component \S+ \S+/runner/emflow_emulator", caught.value.mend
    )


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_an_output_that_cannot_show_every_letter_gets_a_question_mark(
    emflow, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    ran = emflow("validate", "日.yaml")
    assert (ran.code, ran.out) == (2, "?.yaml: EM001 there is no such file\n")


def _wrong() -> None:
    raise RuntimeError("no answer of rtsp://user:hunter2@camera")


def test_an_error_of_ours_is_one_line_and_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("emflow.cli.app", lambda **_: _wrong())
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr().err.splitlines()
    assert (left.value.code, printed[0]) == (
        1,
        "emflow: this is a bug in emflow: RuntimeError: no answer of rtsp://user:***@camera",
    )


@pytest.mark.parametrize("kind", [Problem, UsageProblem])
def test_a_problem_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[Problem]
) -> None:
    def wrong(**_: object) -> None:
        raise kind("no answer", where="rtsp://user:my hunter2@camera")

    monkeypatch.setattr("emflow.cli.app", wrong)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == kind.exit_code
    assert capsys.readouterr().err == "emflow: rtsp://user:***@camera: no answer\n"


@pytest.mark.parametrize("variable", ["EMFLOW_DEBUG", "EMFLOW_LOG"])
def test_the_log_has_the_traceback_of_a_bug_of_ours_without_passwords(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    monkeypatch.setattr("emflow.cli.app", lambda **_: _wrong())
    monkeypatch.setenv(variable, "debug")
    try:
        with pytest.raises(SystemExit) as left:
            main()
    finally:
        stop_logging()
    told = capsys.readouterr().err
    assert left.value.code == 1
    assert "Traceback (most recent call last)" in told
    assert "in _wrong" in told
    assert "hunter2" not in told
