"""Commands that other distributions add: found when they are needed, not looked for when they are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOOK_UP = "emflow.cli.extensions"


def imported(ran) -> set[str]:
    return {line.rpartition("|")[2].strip() for line in ran.err.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("command", ["validate", "render"])
def test_a_command_of_the_host_itself_looks_for_no_others(emflow, demo: Path, command: str) -> None:
    ran = emflow(command, demo, *(["-o", "out"] if command == "render" else []), python=("-X", "importtime"))
    assert ran.code == 0
    assert "emflow.workflow.load" in imported(ran)
    assert LOOK_UP not in imported(ran)


@pytest.mark.parametrize("args", [["--help"], ["up", "--help"], ["local", "--help"]])
def test_help_and_an_unknown_command_look_for_others(emflow, args: list[str]) -> None:
    ran = emflow(*args, python=("-X", "importtime"))
    assert ran.code == 0
    assert LOOK_UP in imported(ran)


def installed(folder: Path, name: str, value: str) -> None:
    """A distribution in a folder that adds a command."""
    info = folder / f"{name}_of_somebody-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-of-somebody\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[emflow.commands]\n{name} = {value}\n")


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "emflow", *args]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_a_command_of_somebody_elses_distribution_is_listed_and_runs(tmp_path: Path) -> None:
    installed(tmp_path, "greet", "somebody:GREET")
    (tmp_path / "somebody.py").write_text(
        "import click\nGREET = ('somebody:greet', 'Greet the fleet.')\n"
        "@click.command()\n@click.argument('name')\ndef greet(name: str) -> None:\n    print('hello', name)\n"
    )
    assert "  greet     Greet the fleet.\n" in run(tmp_path, "--help").stdout
    assert run(tmp_path, "greet", "board-1").stdout == "hello board-1\n"
    assert "Did you mean 'greet'?" in run(tmp_path, "gret").stderr


def test_a_command_that_cannot_be_loaded_leaves_the_others_alone(tmp_path: Path) -> None:
    installed(tmp_path, "broken", "no_such_module:BROKEN")
    listed = run(tmp_path, "--help")
    assert "  validate  Check workflow files" in listed.stdout
    assert "  broken    (cannot be loaded: ModuleNotFoundError" in listed.stdout
    ran = run(tmp_path, "broken")
    assert (ran.returncode, "Traceback" in ran.stderr) == (1, False)


def test_nobody_takes_a_name_that_the_host_has(tmp_path: Path) -> None:
    installed(tmp_path, "validate", "somebody:VALIDATE")
    (tmp_path / "somebody.py").write_text("VALIDATE = ('somebody:validate', 'Validate otherwise.')\n")
    assert "otherwise" not in run(tmp_path, "--help").stdout


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--core", "a b", "'a b' is not a thing name"),
        ("--region", "us east", "'us east' is not a region"),
        ("--architecture", "arm64", "'arm64' is not an architecture that recipes name"),
    ],
)
def test_local_refuses_names_that_aws_has_not(emflow, option: str, value: str, message: str) -> None:
    ran = emflow("local", option, value, "--port", "0", "--mqtt-port", "0")
    assert (ran.code, ran.err.splitlines()[0]) == (2, f"emflow: {option}: {message}")
