"""`emflow destroy`: take down what a workflow made."""

from __future__ import annotations

from typing import Annotated

import typer

from emflow.cli.rollout import File, Var, Yes, agreed, need_terminal, prepare, show_lines


def destroy(
    file: File,
    var: Var = None,
    yes: Yes = False,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also remove the buckets, and everything in them.")
    ] = False,
) -> None:
    """Take down what the workflow made: only what carries its mark, and data only when told.

    What devices run is taken off them by a last deployment without the workflow's components.
    """
    from rich.console import Console

    from emflow.cli.progress import Progress
    from emflow.engine.destroy import plan_removal, remove

    need_terminal("destroy", yes=yes)
    console = Console(highlight=False)
    _, clients, resources = prepare(file, var)
    removal = plan_removal(resources, clients, delete_data=delete_data)
    show_lines(console, removal.text())
    if not removal.going:
        console.print("Nothing to remove.")
        return
    if not agreed("Remove all that is marked with -?", yes=yes):
        console.print("Nothing was removed.")
        raise typer.Exit(1)
    with Progress(console) as progress:
        remove(removal, clients, progress.show)
    console.print(f"Removed: {len(removal.going)}")
