"""`emflow unlock`: take away the lock of a run that is no more."""

from __future__ import annotations

import typer

from emflow.cli.options import Var, VarFile
from emflow.cli.planning import File, Yes, agreed, need_terminal, prepare


def unlock(file: File, var: Var = None, var_file: VarFile = None, yes: Yes = False) -> None:
    """Take away the lock of a workflow, whoever holds it.

    Whoever changes something in AWS holds a lock meanwhile. One whose process has ended lapses by itself within two
    minutes, at once for runs on the same machine. A run that is still at it stops before its next change.
    """
    from emflow.engine.lock import described
    from emflow.problems import Problem
    from emflow.resources.s3.lock_store import LockObject

    workflow, clients, _ = prepare(file, var, var_file=var_file)
    store = LockObject.of(workflow, clients)
    found = store.find()
    if found is None:
        typer.echo(f"{store.where}: nobody holds the lock.")
        return
    need_terminal("unlock", yes=yes)
    typer.echo(f"{store.where}: {described(found)}.")
    if not agreed("Take it away?", yes=yes):
        typer.echo("Nothing was changed.")
        raise typer.Exit(1)
    if not store.remove(found.version):
        raise Problem("the lock has changed hands meanwhile", where=store.where, mend="Look again: emflow unlock.")
    typer.echo("Unlocked.")
