"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emflow.workflow.model import Workflow

Var = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE", help="Set a variable of the workflow; may be given again."),
]
VarFile = Annotated[
    list[Path] | None,
    typer.Option(
        "--var-file",
        metavar="FILE",
        help="Set variables from a YAML or JSON file; may be given again, the last goes first. --var goes before it.",
    ),
]


def load_workflow(file: Path, var: Sequence[str] | None, var_file: Sequence[Path] | None) -> Workflow:
    """The workflow with the variables of the command line and the environment.

    Raises:
        WorkflowProblem: what is wrong with it, or with a file of variables.
        UsageProblem: a `--var` is no assignment.
    """
    from emflow.workflow import load
    from emflow.workflow.variables import assignments

    return load(file, assignments(var or []), var_file or ())
