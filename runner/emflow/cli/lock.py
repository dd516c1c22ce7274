"""`emflow lock`: chooses the Python packages of the workflow's board, and writes them with hashes beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click

from emflow.board.figures import BoardFigures, board_of
from emflow.board.lock import (
    MADE_AGAIN,
    Lock,
    differences,
    keep_addresses,
    lock_path,
    made_for,
    read_lock,
)
from emflow.board.requirements import device_requirements, extras_of
from emflow.cli.options import File, Root, Var, VarFile, check_workflow, print_warnings
from emflow.cli.output_files import write_atomically
from emflow.cli.parameters import Option
from emflow.problems import Problem, UsageProblem


def lock(
    file: File,
    check: Annotated[
        bool,
        Option("--check", help="Write nothing; exit with 1, and say what differs, when the lock is not current."),
    ] = False,
    upgrade: Annotated[bool, Option("--upgrade", help="Take the newest versions, not those of the lock.")] = False,
    wheels: Annotated[
        Path | None,
        Option("--wheels", metavar="DIR", help="Take packages from this folder of wheels only, without a network."),
    ] = None,
    var: Var = None,
    var_file: VarFile = None,
    root: Root = None,
) -> None:
    """Choose the Python packages of the board, `edge.board`, and write them with hashes beside the workflow.

    The file is pylock.toml, or pylock.NAME.toml for a board with a name (PEP 751). Versions that it has are kept as
    long as they fit. Commit it: CI checks it with --check, and devices install exactly what it names.

    Packages come from PyPI, or from the index that uv's or pip's own variables name: UV_DEFAULT_INDEX, UV_INDEX,
    PIP_INDEX_URL, PIP_EXTRA_INDEX_URL.
    """
    if check and upgrade:
        raise UsageProblem("--check and --upgrade exclude each other", mend="give one of them")
    if wheels is not None and not wheels.is_dir():
        raise UsageProblem("there is no such folder", where=f"--wheels {wheels}")
    checked = check_workflow(file, var, var_file, root)
    print_warnings(checked.warnings)
    board = board_of(checked.workflow)
    path = lock_path(checked.workflow, board)
    before = _before(path, needed=check)
    requirements = device_requirements(board, extras_of(checked.workflow))
    after = _resolved(board, requirements, path.parent, None if upgrade else before, wheels)
    if before is not None:
        after = keep_addresses(after, before, path.parent)
    changes = list(differences(before, after)) if before else []
    if check:
        if changes:
            raise Problem("the lock is not current:\n  " + "\n  ".join(changes), where=str(path), mend=MADE_AGAIN)
        click.echo(f"{path}: current, {_summary(after, board)}")
        return
    write_atomically(path, after.text().encode(), mend="Make the folder of the workflow writable.")
    for change in changes:
        click.echo(f"  {change}")
    click.echo(f"{path}: {_summary(after, board)}")


def _before(path: Path, *, needed: bool) -> Lock | None:
    if not needed and not path.exists():
        return None
    return read_lock(path)


def _resolved(
    board: BoardFigures, requirements: Sequence[str], beside: Path, keep: Lock | None, wheels: Path | None
) -> Lock:
    wanted = made_for(board, requirements)
    if board.packages == "image":
        return wanted
    from dataclasses import replace

    from emflow.board.resolver import resolve

    found = resolve(board, requirements, keep=keep, wheels=wheels, beside=beside)
    return replace(wanted, locked=found.locked, installer=found.installer)


def _summary(lock: Lock, board: BoardFigures) -> str:
    from emflow.recipes.sizes import show_bytes

    if lock.packages == "image":
        return f"the image has to bring {len(lock.requirements)} packages ({board.shown})"
    size = sum(wheel.size for wheel in lock.wheels)
    of_image = f", {len(lock.provides)} of the image" if lock.provides else ""
    total = f", {show_bytes(size)} to download" if size else ""
    return f"{len(lock.locked)} packages{of_image} for {board.shown}{total}"
