"""`emflow plan`: shows what would change in AWS, and changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import click

from emflow.cli.options import Adopt, File, Json, RetryFailed, Root, Target, Var, VarFile, print_warnings
from emflow.cli.parameters import Option

EXIT_CHANGES = 3
"""The exit code of `--detailed-exitcode` when something would change."""


def plan(
    file: File,
    var: Var = None,
    var_file: VarFile = None,
    root: Root = None,
    out: Annotated[
        Path | None, Option("--out", metavar="PLAN", help="Also save the plan, for `emflow apply PLAN`.")
    ] = None,
    as_json: Json = False,
    target: Target = None,
    detailed_exitcode: Annotated[
        bool, Option("--detailed-exitcode", help="Exit with 3 when something would change.")
    ] = False,
    retry_failed: RetryFailed = False,
    adopt: Adopt = None,
) -> None:
    """Show what `emflow apply` would change in AWS. It only reads.

    Signs: + create, ~ change, ± create anew beside the old one, - remove, = no change, but with a note.
    """
    from rich.console import Console

    from emflow.cli.planning import PlanInput, is_new_installation, plan_json, print_plan, save_plan
    from emflow.cli.signals import SignalHandling

    plan_input = PlanInput.from_options(
        file, var, var_file=var_file, root=root, retry_failed=retry_failed, adopt=adopt, target=target
    )
    with SignalHandling(lambda _: None) as signals:
        loaded = plan_input.load()
        print_warnings(loaded.warnings)
        plan = plan_input.make_plan(loaded.resources, loaded.clients, signals.cancellation)
        if is_new_installation(plan):
            print_warnings(loaded.warnings, new_installation=True)
        text = plan_json(plan, loaded, plan_input.request) if out or as_json else ""
    if out:
        save_plan(out, text)
    if as_json:
        sys.stdout.write(text)
    else:
        console = Console(highlight=False)
        print_plan(console, plan, details=True)
        if out and plan.changes:
            console.print(f"To apply exactly this plan: emflow apply {out}", soft_wrap=True)
    if detailed_exitcode and plan.changes:
        raise click.exceptions.Exit(EXIT_CHANGES)
