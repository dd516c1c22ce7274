"""`emflow unlock`: removes the lock left by a run that has ended."""

from __future__ import annotations

import click

from emflow.cli.options import File, Root, Var, VarFile, Yes, load_workflow
from emflow.cli.prompts import confirm, require_terminal


def unlock(file: File, var: Var = None, var_file: VarFile = None, root: Root = None, yes: Yes = False) -> None:
    """Remove the lock of a workflow, even if another run holds it.

    A run that changes something in AWS holds a lock. When its process has ended, the lock expires by itself: at once
    for runs on the same machine, otherwise within two minutes. A run that is still active stops before its next change.
    """
    from emflow.engine.clients import Clients
    from emflow.resources.s3.lock_store import lock_of

    workflow = load_workflow(file, var, var_file, root)
    lock = lock_of(workflow, Clients(workflow.aws))
    found = lock.current()
    if found is None:
        click.echo(f"{lock.where}: there is no lock.")
        return
    require_terminal("unlock", yes=yes)
    click.echo(f"{lock.where}: {found}.")
    if not confirm("Remove the lock?", yes=yes):
        click.echo("Nothing was changed.")
        raise click.exceptions.Exit(1)
    lock.remove(found)
    click.echo("Unlocked.")
