"""`emflow destroy`: removes what a workflow made."""

from __future__ import annotations

from typing import Annotated

import click

from emflow.cli.options import File, Root, Var, VarFile, Yes
from emflow.cli.parameters import Option
from emflow.cli.prompts import confirm, require_terminal


def destroy(
    file: File,
    var: Var = None,
    var_file: VarFile = None,
    root: Root = None,
    yes: Yes = False,
    delete_data: Annotated[
        bool, Option("--delete-data", help="Also remove the buckets, with all versions of all objects.")
    ] = False,
    delete_core_device: Annotated[
        bool,
        Option(
            "--delete-core-device",
            help="Also remove the target's core devices (of a thing group: its members) from Greengrass. "
            "Stop Greengrass on them first.",
        ),
    ] = False,
) -> None:
    """Remove what the workflow made: only resources with its tag, and data only with --delete-data.

    A last deployment removes the workflow's components from the devices. When a resource cannot be removed, the
    resources that it needs stay too, and all others are removed. A second run continues with the rest. Ctrl-C stops it
    in an orderly way and lists what is left (exit code 130). No file other than the workflow is read.
    """
    from rich.console import Console

    from emflow.cli.event_output import event_output
    from emflow.cli.planning import print_plan_text
    from emflow.cli.signals import SignalHandling
    from emflow.engine.clients import Clients
    from emflow.engine.destroy import plan_removal, remove
    from emflow.engine.events import Stopping
    from emflow.resources import removable_resources
    from emflow.resources.s3.lock_store import lock_of
    from emflow.workflow import load
    from emflow.workflow.variables.overrides import parse_assignments

    console = Console(highlight=False)
    output = event_output(console, json_lines=False)
    with SignalHandling(lambda why: output.show(Stopping(why))) as signals:
        workflow = load(file, parse_assignments(var or []), var_file or (), root=root)
        require_terminal("destroy", yes=yes)
        clients = Clients(workflow.aws)
        resources = removable_resources(workflow, delete_core_devices=delete_core_device)
        removal = plan_removal(resources, clients, delete_data=delete_data, cancellation=signals.cancellation)
        print_plan_text(console, removal.text())
        if not removal.to_remove:
            return
        with signals.prompting():
            if not confirm("Remove all resources with the sign -?", yes=yes):
                console.print("Nothing was removed.")
                raise click.exceptions.Exit(1)
        with output:
            remove(removal, clients, output.show, signals.cancellation, lock_of(workflow, clients))
        console.print(f"Removed: {len(removal.to_remove)}")
