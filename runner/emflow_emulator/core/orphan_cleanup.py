"""Kills the processes that a core device leaves when it is killed itself.

It is a separate process with its own session, and reads a pipe from the core device. The core device writes `+ID` for
every process group that it starts, and `-ID` when the group has ended. When the pipe closes for any reason, the groups
that are still in the list are killed. A parent-death signal would not be enough: it depends on the thread that started
the process, and the children of a script's shell do not get it.

If its first argument is a folder, it also removes this folder when the program that started the core device has ended
without removing it; the second argument is a file descriptor (a pidfd) of that program. After the line `keep` it does
not remove the folder.

`OrphanCleanup` in `process` starts it as a plain file, so it imports no module of the package.
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
    """Whether a process, given by its pidfd, ends within `timeout` seconds; None waits without a limit."""
    return bool(select.select([process], [], [], timeout)[0])


def remove(folder: Path, tries: int = 20) -> None:
    """Try several times, because a process that was just killed, or another core device, may still write there."""
    for _ in range(tries):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.1)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    main(sys.stdin, sys.argv[1:])
