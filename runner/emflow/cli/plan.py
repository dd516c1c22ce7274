"""`emflow plan`: what would change in AWS; nothing is changed."""

from __future__ import annotations

from typing import Annotated

import typer

from emflow.cli.rollout import Adopt, File, RetryFailed, Var, prepare, show_plan

CHANGES = 3
"""The exit code of `--detailed-exitcode` when something would change."""


def plan(
    file: File,
    var: Var = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 3 when something would change.")
    ] = False,
    retry_failed: RetryFailed = False,
    adopt: Adopt = None,
) -> None:
    """Show what `emflow apply` would change in AWS. Only reads."""
    from rich.console import Console

    from emflow.engine.plan import make_plan

    _, clients, resources = prepare(file, var, retry_failed=retry_failed, adopt=adopt or ())
    made = make_plan(resources, clients)
    show_plan(Console(highlight=False), made)
    if detailed_exitcode and made.changes:
        raise typer.Exit(CHANGES)
