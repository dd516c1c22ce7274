"""`emflow apply`: make AWS match the workflow."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emflow.cli.options import Var, VarFile, tell
from emflow.cli.planning import Adopt, Json, RetryFailed, Target, Yes, agreed, duration, need_terminal, show_plan

if TYPE_CHECKING:
    from rich.console import Console

    from emflow.cli.event_output import Report
    from emflow.cli.planning import Asked
    from emflow.cli.signals import Interrupts
    from emflow.engine.apply import Applied

DEVICES = 900.0
"""Seconds that `--wait` gives the devices when there is no limit for everything."""


def apply(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The workflow, or a plan of `emflow plan --out`.", show_default=False)
    ],
    var: Var = None,
    var_file: VarFile = None,
    yes: Yes = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the devices have taken the deployment.")] = False,
    target: Target = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="For all of it, such as 10m. Without it there is no limit, but of 15m for the devices.",
        ),
    ] = None,
    as_json: Json = False,
    retry_failed: RetryFailed = False,
    adopt: Adopt = None,
) -> None:
    """Make AWS match the workflow, and nothing more when it already does.

    Whatever was done stays when something fails; the next apply goes on from there. A plan is executed as it is,
    without asking, or refused when the workflow or AWS is no longer what it was. Ctrl-C ends what runs in good order
    and says what AWS still works on (exit code 130); a second Ctrl-C ends at once.
    """
    from rich.console import Console

    from emflow.cli.event_output import report
    from emflow.cli.planning import Asked
    from emflow.cli.signals import Interrupts
    from emflow.engine.cancellation import Interrupted
    from emflow.engine.events import Finished, Stopping
    from emflow.problems import Problem

    began = time.monotonic()
    limit = duration(timeout, "--timeout")
    asked = Asked.of(file, var, var_file=var_file, retry_failed=retry_failed, adopt=adopt, target=target)
    yes = yes or asked.planned is not None
    need_terminal("apply", yes=yes)
    console = Console(highlight=False, stderr=as_json)
    to = report(console, json_lines=as_json)
    with Interrupts(lambda why: to.show(Stopping(why)), limit, timeout or "") as interrupts:
        try:
            applied = _apply(asked, console, to, interrupts, yes=yes, wait=wait, limit=limit)
        except Problem as problem:
            result = "stopped" if isinstance(problem, Interrupted) else "failed"
            to.show(Finished(result, time.monotonic() - began, problem=problem))
            raise
        done = "applied" if applied.actions else "unchanged"
        to.show(Finished(done, time.monotonic() - began, applied.actions))
        console.print(applied.summary())


def _apply(
    asked: Asked,
    console: Console,
    to: Report,
    interrupts: Interrupts,
    *,
    yes: bool,
    wait: bool,
    limit: float | None,
) -> Applied:
    from emflow.engine.apply import apply_plan
    from emflow.engine.events import Warned
    from emflow.problems import UsageProblem
    from emflow.resources import wait_for_deployment
    from emflow.resources.ownership import DEPLOYMENT
    from emflow.resources.s3.lock_store import lock_of

    workflow, clients, resources, warnings = asked.prepare()
    tell(warnings)
    for warning in warnings:
        to.show(Warned.of(warning))
    if wait and all(each.id != DEPLOYMENT for each in resources):
        raise UsageProblem(
            f"--wait waits for {DEPLOYMENT}, which --target leaves out", mend=f"Add --target {DEPLOYMENT}."
        )
    plan = asked.plan(resources, clients, interrupts.stop)
    show_plan(console, plan, details=True)
    lock = lock_of(workflow, clients)
    if plan.changes:
        lock.refuse_if_held()
    with interrupts.asking():
        if plan.changes and not agreed("Apply this plan?", yes=yes):
            console.print("Nothing was changed.")
            raise typer.Exit(1)
    with to:
        applied = apply_plan(plan, clients, to.show, interrupts.stop, lock)
        if wait:
            patience = DEVICES if limit is None else math.inf
            wait_for_deployment(workflow, clients, to.show, timeout=patience, stop=interrupts.stop)
    return applied
