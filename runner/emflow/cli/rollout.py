"""What `plan`, `apply` and `destroy` have in common: their arguments, and asking before anything is changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emflow.problems import UsageProblem

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from rich.console import Console

    from emflow.engine.clients import Clients
    from emflow.engine.plan import Plan
    from emflow.engine.resource import Resource
    from emflow.workflow.model import Workflow

File = Annotated[Path, typer.Argument(help="The workflow.", show_default=False)]
Var = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE", help="Set a variable of the workflow; may be repeated."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Repeat what failed with the same inputs, under a next name.")
]
Adopt = Annotated[
    list[str] | None,
    typer.Option("--adopt", metavar="ID", help="Also change this thing, which somebody else made; may be repeated."),
]


def prepare(
    file: Path, var: Sequence[str] | None, *, retry_failed: bool = False, adopt: Collection[str] = ()
) -> tuple[Workflow, Clients, tuple[Resource, ...]]:
    """A workflow, what it wants, and the way to AWS.

    Raises:
        Problem: the workflow is wrong, a file that it names is missing, or there is no such profile.
    """
    from emflow.engine.clients import Clients
    from emflow.resources import build
    from emflow.workflow import load
    from emflow.workflow.variables import assignments

    workflow = load(file, assignments(var or []))
    return workflow, Clients(workflow.aws), build(workflow, retry_failed=retry_failed, adopt=adopt)


def show_plan(console: Console, plan: Plan) -> None:
    """The plan, with the sign of each line in its colour."""
    show_lines(console, plan.text())


def show_lines(console: Console, text: str) -> None:
    from rich.text import Text

    colours = {"+": "green", "~": "yellow", "±": "magenta", "-": "red", "=": "dim"}
    for line in text.splitlines():
        sign = line[2:3] if line.startswith("  ") and line[3:4] == " " else ""
        console.print(Text(line, style=colours.get(sign, "")), soft_wrap=True)


def need_terminal(command: str, *, yes: bool) -> None:
    """See that somebody can be asked.

    Raises:
        UsageProblem: nobody can, and nobody said `--yes`.
    """
    if not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageProblem(
            f"emflow {command} asks before it changes anything, and there is no terminal to ask on",
            mend=f"Look at it first (emflow plan), then: emflow {command} --yes",
        )


def agreed(question: str, *, yes: bool) -> bool:
    """Ask, unless `--yes` was said."""
    return yes or typer.confirm(question)
