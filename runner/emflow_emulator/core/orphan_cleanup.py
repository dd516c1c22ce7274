"""Waits for the end of the processes that a core device leaves when it is killed itself.

It is a separate process with its own session, and reads a pipe from the core device. The core device writes `+ID` for
the guard of every step that it starts (`step_keeper`), and `-ID` when that has ended. When the pipe closes for any
reason, the keepers end all processes of their steps; where that takes too long, the guard gets the order to do it.

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

_PATIENCE = 10.0
"""Seconds in which the keepers end their processes, which they kill at once."""


def main(orders: IO[str], args: Sequence[str]) -> None:
    guards: dict[int, int] = {}
    folder = Path(args[0]) if args else None
    for order in orders:
        if order == KEEP:
            folder = None
            continue
        sign, guard = order[0], int(order[1:])
        if sign == "+":
            with contextlib.suppress(ProcessLookupError):
                # At once, and not at the end: by then, another process may have the number.
                guards[guard] = os.pidfd_open(guard)
        elif guard in guards:
            os.close(guards.pop(guard))
    deadline = time.monotonic() + _PATIENCE
    for process in guards.values():
        if not ended(process, max(0.0, deadline - time.monotonic())):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(process, signal.SIGUSR1)
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
