"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emflow.problems import Finding
    from emflow.workflow.load import Checked
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
    return check_workflow(file, var, var_file).workflow


def check_workflow(file: Path, var: Sequence[str] | None, var_file: Sequence[Path] | None) -> Checked:
    """As `load_workflow`, with the warnings. Raises as it does."""
    from emflow.workflow.load import check
    from emflow.workflow.variables.resolve import assignments

    return check(file, assignments(var or []), var_file or ())


def tell(warnings: Iterable[Finding]) -> None:
    """Warnings on standard error, as `emflow validate` prints them."""
    for warning in warnings:
        typer.echo(str(warning), err=True)


@contextmanager
def asking(otherwise: str) -> Iterator[None]:
    """While a person is asked something. Ctrl-C ends the command with 130, the end of the input with 1.

    Args:
        otherwise: what is so when nobody answers, for people.
    """
    try:
        yield
    except typer.Abort as end:  # of both; only its context tells them apart
        typer.echo(f"\nemflow: {otherwise}", err=True)
        raise typer.Exit(130 if isinstance(end.__context__, KeyboardInterrupt) else 1) from None
