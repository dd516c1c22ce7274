"""`emflow apply`: makes AWS match the workflow."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from emflow.cli.options import (
    Adopt,
    Json,
    RetryFailed,
    Root,
    Target,
    Var,
    VarFile,
    Yes,
    parse_duration,
    print_warnings,
)
from emflow.cli.parameters import Argument, Option
from emflow.cli.prompts import confirm, require_terminal

if TYPE_CHECKING:
    from rich.console import Console

    from emflow.cli.event_output import EventOutput
    from emflow.cli.planning import PlanInput
    from emflow.cli.signals import SignalHandling
    from emflow.engine.apply import ApplyResult

DEVICE_TIMEOUT = 900.0
"""Seconds that `--wait` waits for the devices when there is no `--timeout`."""


def apply(
    file: Annotated[
        Path,
        Argument(metavar="FILE", help="The workflow file, or a plan saved by `emflow plan --out`."),
    ],
    var: Var = None,
    var_file: VarFile = None,
    root: Root = None,
    yes: Yes = False,
    wait: Annotated[bool, Option("--wait", help="Wait until the devices run the deployment.")] = False,
    target: Target = None,
    timeout: Annotated[
        str | None,
        Option(
            metavar="DURATION",
            help="Time limit for the whole command, such as 10m. By default only --wait has one: 15m.",
        ),
    ] = None,
    as_json: Json = False,
    retry_failed: RetryFailed = False,
    adopt: Adopt = None,
) -> None:
    """Make AWS match the workflow; changes nothing when it already matches.

    When something fails, completed changes stay, and the next apply continues from there. A saved plan is applied
    without confirmation; it is refused when the workflow or AWS has changed since. Ctrl-C stops the run in an orderly
    way and lists what AWS is still working on (exit code 130); a second Ctrl-C ends it at once.
    """
    from rich.console import Console

    from emflow.cli.event_output import event_output
    from emflow.cli.planning import PlanInput
    from emflow.cli.signals import SignalHandling
    from emflow.engine.cancellation import Interrupted
    from emflow.engine.events import Finished, Stopping
    from emflow.problems import Problem

    started = time.monotonic()
    limit = parse_duration(timeout, "--timeout")
    plan_input = PlanInput.from_options(
        file, var, var_file=var_file, root=root, retry_failed=retry_failed, adopt=adopt, target=target
    )
    yes = yes or plan_input.saved_plan is not None
    console = Console(highlight=False, stderr=as_json)
    output = event_output(console, json_lines=as_json)
    with SignalHandling(lambda why: output.show(Stopping(why)), limit, timeout or "") as signals:
        try:
            applied = _apply(plan_input, console, output, signals, yes=yes, wait=wait, limit=limit)
        except Problem as problem:
            result = "stopped" if isinstance(problem, Interrupted) else "failed"
            output.show(Finished(result, time.monotonic() - started, problem=problem))
            raise
        done = "applied" if applied.actions else "unchanged"
        output.show(Finished(done, time.monotonic() - started, applied.actions))
        console.print(applied.summary())


def _apply(
    plan_input: PlanInput,
    console: Console,
    output: EventOutput,
    signals: SignalHandling,
    *,
    yes: bool,
    wait: bool,
    limit: float | None,
) -> ApplyResult:
    from emflow.cli.planning import is_new_installation, print_plan
    from emflow.engine.apply import apply_plan
    from emflow.engine.events import Warned
    from emflow.problems import UsageProblem
    from emflow.resources import wait_for_deployment
    from emflow.resources.greengrass.deployment import DEPLOYMENT
    from emflow.resources.s3.lock_store import lock_of

    workflow, clients, resources, warnings = plan_input.load()
    require_terminal("apply", yes=yes)  # a mistake in the file comes first: the other one is about this command only
    print_warnings(warnings)
    for warning in warnings:
        output.show(Warned.of(warning))
    if wait and all(each.id != DEPLOYMENT for each in resources):
        raise UsageProblem(
            f"--wait waits for {DEPLOYMENT}, which --target leaves out", mend=f"Add --target {DEPLOYMENT}."
        )
    plan = plan_input.make_plan(resources, clients, signals.cancellation)
    if is_new_installation(plan):
        print_warnings(warnings, new_installation=True)
    print_plan(console, plan, details=True)
    lock = lock_of(workflow, clients)
    if plan.changes:
        lock.refuse_if_held()
    with signals.prompting():
        if plan.changes and not confirm("Apply this plan?", yes=yes):
            console.print("Nothing was changed.")
            raise click.exceptions.Exit(1)
    with output:
        applied = apply_plan(plan, clients, output.show, signals.cancellation, lock)
        if wait:
            device_timeout = DEVICE_TIMEOUT if limit is None else math.inf
            wait_for_deployment(
                workflow, clients, output.show, timeout=device_timeout, cancellation=signals.cancellation
            )
    return applied
