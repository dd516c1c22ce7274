"""Kills the processes that a core device leaves behind when it is killed itself.

A process of its own, in its own session, with nothing but a pipe from the core device. The core writes `+ID` for every
process group that it starts and `-ID` when the group is gone; when the pipe closes, for whatever reason, the groups
still on the list are killed. A parent-death signal would not do: it is tied to the thread that started the process, and
it does not reach the children of a script's shell.

With a folder as its argument it also removes that, once the program that started the core is gone and cannot do so
itself; the second argument is a file descriptor (a pidfd) of that program. After `keep` it leaves the folder alone.

Started as a plain file by `OrphanCleanup` in `process`, so it imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

KEEP = "keep\n"


def main(orders: IO[str], args: Sequence[str]) -> None:
    groups: set[int] = set()
    folder = Path(args[0]) if args else None
    for order in orders:
        if order == KEEP:
            folder = None
            continue
        sign, group = order[0], int(order[1:])
        (groups.add if sign == "+" else groups.discard)(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    if folder:
        if len(args) > 1:
            ended(int(args[1]), None)
        remove(folder)


def ended(process: int, timeout: float | None) -> bool:
    """Whether a process, by its pidfd, has ended within so many seconds; None waits for ever."""
    return bool(select.select([process], [], [], timeout)[0])


def remove(folder: Path, tries: int = 20) -> None:
    """Again and again, for what was just killed, or another core device, may still be writing there."""
    for _ in range(tries):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.1)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    main(sys.stdin, sys.argv[1:])
