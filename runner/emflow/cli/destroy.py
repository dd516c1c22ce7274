"""`emflow destroy`: take down what a workflow made."""

from __future__ import annotations

from typing import Annotated

import typer

from emflow.cli.options import Var, VarFile
from emflow.cli.planning import File, Yes, agreed, need_terminal, show_lines


def destroy(
    file: File,
    var: Var = None,
    var_file: VarFile = None,
    yes: Yes = False,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also remove the buckets, and every version of everything in them.")
    ] = False,
    delete_core_device: Annotated[
        bool,
        typer.Option(
            "--delete-core-device",
            help="Also remove the target's core devices from Greengrass; stop Greengrass on them first.",
        ),
    ] = False,
) -> None:
    """Take down what the workflow made: only what carries its mark, and data only when told.

    What devices run is taken off them by a last deployment without the workflow's components. What cannot be removed
    keeps what it needs; everything else goes nevertheless. Run again, it goes on with what is left. Ctrl-C ends it in
    good order, and says what is left half-way (exit code 130). No file beside the workflow is read.
    """
    from rich.console import Console

    from emflow.cli.event_output import report
    from emflow.cli.signals import Interrupts
    from emflow.engine.clients import Clients
    from emflow.engine.destroy import plan_removal, remove
    from emflow.engine.events import Stopping
    from emflow.resources import core_devices, removable
    from emflow.resources.s3.lock_store import lock_of
    from emflow.workflow import load
    from emflow.workflow.variables.resolve import assignments

    need_terminal("destroy", yes=yes)
    console = Console(highlight=False)
    to = report(console, json_lines=False)
    with Interrupts(lambda why: to.show(Stopping(why))) as interrupts:
        workflow = load(file, assignments(var or []), var_file or ())
        clients, resources = Clients(workflow.aws), removable(workflow)
        if delete_core_device:
            resources = (*core_devices(workflow), *resources)
        removal = plan_removal(resources, clients, delete_data=delete_data, stop=interrupts.stop)
        show_lines(console, removal.text())
        if not removal.going:
            return
        with interrupts.asking():
            if not agreed("Remove all that is marked with -?", yes=yes):
                console.print("Nothing was removed.")
                raise typer.Exit(1)
        with to:
            remove(removal, clients, to.show, interrupts.stop, lock_of(workflow, clients))
        console.print(f"Removed: {len(removal.going)}")
