"""`emflow validate`: what is wrong with workflow files, each mistake with its place and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emflow.cli.options import Var
from emflow.problems import WorkflowProblem
from emflow.workflow import load
from emflow.workflow.variables import assignments


def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Workflow files.", show_default=False)],
    var: Var = None,
) -> None:
    """Check workflow files: YAML, keys, types, rules, and the model and labels where they are there.

    Exits with 2 when any of them is wrong. No network, no credentials.
    """
    given = assignments(var or [])
    wrong = 0
    for file in files:
        try:
            load(file, given)
        except WorkflowProblem as problem:
            wrong += len(problem.findings)
            typer.echo(problem)
        else:
            typer.echo(f"{file}: ok")
    if wrong:
        raise typer.Exit(2)
