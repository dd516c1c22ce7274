"""`emflow plan`: what would change in AWS; nothing is changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from emflow.cli.options import Var, VarFile, tell
from emflow.cli.planning import Adopt, File, Json, RetryFailed, Target, show_plan

CHANGES = 3
"""The exit code of `--detailed-exitcode` when something would change."""


def plan(
    file: File,
    var: Var = None,
    var_file: VarFile = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PLAN", help="Also write the plan, for `emflow apply PLAN`.")
    ] = None,
    as_json: Json = False,
    target: Target = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 3 when something would change.")
    ] = False,
    retry_failed: RetryFailed = False,
    adopt: Adopt = None,
) -> None:
    """Show what `emflow apply` would change in AWS. Only reads.

    Signs: + made, ~ changed, ± made anew beside the old, = left as it is, with something to know about it.
    """
    from rich.console import Console

    from emflow.cli.planning import Asked, as_text, write
    from emflow.cli.signals import Interrupts

    asked = Asked.of(file, var, var_file=var_file, retry_failed=retry_failed, adopt=adopt, target=target)
    with Interrupts(lambda _: None) as interrupts:
        found = asked.prepare()
        tell(found.warnings)
        made = asked.plan(found.resources, found.clients, interrupts.stop)
        text = as_text(made, found, asked.request) if out or as_json else ""
    if out:
        write(out, text)
    if as_json:
        sys.stdout.write(text)
    else:
        console = Console(highlight=False)
        show_plan(console, made, details=True)
        if out and made.changes:
            console.print(f"To make exactly this true: emflow apply {out}", soft_wrap=True)
    if detailed_exitcode and made.changes:
        raise typer.Exit(CHANGES)
