"""Arguments and options that several commands share, and what they are turned into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from emflow.cli.parameters import Argument, Option
from emflow.problems import UsageProblem

if TYPE_CHECKING:
    from emflow.problems import Finding
    from emflow.workflow.load import Checked
    from emflow.workflow.model import Workflow

File = Annotated[Path, Argument(metavar="FILE", help="The workflow file.")]
Var = Annotated[
    list[str] | None,
    Option("--var", metavar="NAME=VALUE", help="Set a variable of the workflow; may be repeated."),
]
VarFile = Annotated[
    list[Path] | None,
    Option(
        "--var-file",
        metavar="FILE",
        help="Set variables from a YAML or JSON file; may be repeated: a later file overrides an earlier one, --var "
        "overrides all files.",
    ),
]
Root = Annotated[
    Path | None,
    Option(
        "--root",
        metavar="DIR",
        help="The workflow may name files in this folder. Default: only in its own folder. Symbolic links are resolved "
        "first.",
    ),
]
Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask for confirmation.")]
RetryFailed = Annotated[
    bool, Option("--retry-failed", help="Repeat failed jobs with the same inputs, under a new name.")
]
Adopt = Annotated[
    list[str] | None,
    Option(
        "--adopt",
        metavar="ID",
        help="Also change this resource, although this workflow did not make it; may be repeated.",
    ),
]
Target = Annotated[
    list[str] | None,
    Option(
        "--target",
        metavar="ID",
        help="Only this resource, such as model/package, or all of a group, such as model, and what they need; "
        "may be repeated.",
    ),
]
Json = Annotated[
    bool, Option("--json", help="Print JSON to standard output; messages for people go to standard error.")
]


def load_workflow(
    file: Path, var: Sequence[str] | None, var_file: Sequence[Path] | None, root: Path | None = None
) -> Workflow:
    """The workflow, with the variables of the command line and the environment.

    Raises:
        WorkflowProblem: the workflow, or a file of variables, is wrong.
        UsageProblem: a `--var` is not an assignment.
    """
    return check_workflow(file, var, var_file, root).workflow


def check_workflow(
    file: Path, var: Sequence[str] | None, var_file: Sequence[Path] | None, root: Path | None = None
) -> Checked:
    """As `load_workflow`, with the warnings. Raises as it does."""
    from emflow.workflow.load import check
    from emflow.workflow.variables.overrides import parse_assignments

    return check(file, parse_assignments(var or []), var_file or (), root=root)


def print_warnings(warnings: Iterable[Finding], *, new_installation: bool = False) -> None:
    """Print warnings to standard error, in the format of `emflow validate`.

    Args:
        new_installation: print those that are about new installations, instead of all others.
    """
    from emflow.workflow.rules.registry import ABOUT_NEW_INSTALLATIONS

    for warning in warnings:
        if (warning.code in ABOUT_NEW_INSTALLATIONS) is new_installation:
            click.echo(str(warning), err=True)


def parse_duration(text: str | None, option: str) -> float | None:
    """Seconds of an option such as `--timeout 10m`; None when the option is absent.

    Raises:
        UsageProblem: it is not a duration.
    """
    from emflow_schema.units import seconds

    try:
        return None if text is None else seconds(text)
    except ValueError as error:
        raise UsageProblem(str(error), where=option, mend="for example: 90s, 15m or 1h") from None
