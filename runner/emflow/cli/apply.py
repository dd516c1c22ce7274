"""`emflow apply`: make AWS match the workflow."""

from __future__ import annotations

from typing import Annotated

import typer

from emflow.cli.rollout import Adopt, File, RetryFailed, Var, Yes, agreed, need_terminal, prepare, show_plan


def apply(
    file: File,
    var: Var = None,
    yes: Yes = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the devices have taken the deployment.")] = False,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for the devices.")] = "15m",
    retry_failed: RetryFailed = False,
    adopt: Adopt = None,
) -> None:
    """Make AWS match the workflow, and nothing more when it already does.

    Whatever was done stays when something fails; the next apply goes on from there.
    """
    from rich.console import Console

    from emflow.cli.progress import Progress
    from emflow.engine.apply import apply_plan
    from emflow.engine.plan import make_plan
    from emflow.problems import UsageProblem
    from emflow.resources import wait_for_deployment
    from emflow.workflow.units import seconds

    need_terminal("apply", yes=yes)
    try:
        patience = seconds(timeout)
    except ValueError as error:
        raise UsageProblem(str(error), where="--timeout", mend="such as 90s, 15m or 1h") from None
    console = Console(highlight=False)
    workflow, clients, resources = prepare(file, var, retry_failed=retry_failed, adopt=adopt or ())
    plan = make_plan(resources, clients)
    show_plan(console, plan)
    if plan.changes and not agreed("Apply this plan?", yes=yes):
        console.print("Nothing was changed.")
        raise typer.Exit(1)
    with Progress(console) as progress:
        applied = apply_plan(plan, clients, progress.show)
        if wait:
            wait_for_deployment(workflow, clients, progress.show, timeout=patience)
    console.print(applied.summary())
