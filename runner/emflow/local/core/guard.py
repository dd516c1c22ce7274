"""Ends what a core device leaves behind when it is killed without a chance to clean up.

A process of its own, in its own session, with nothing but a pipe from the core device. The core writes `+ID` for every
process group that it starts and `-ID` when the group is gone; when the pipe closes, for whatever reason, the groups
still on the list are killed. A parent-death signal would not do: it is tied to the thread that started the process, and
it does not reach the children of a script's shell.

Started as a plain file by `Guard` in `process`, so it imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import IO


def main(orders: IO[str]) -> None:
    groups: set[int] = set()
    for order in orders:
        sign, group = order[0], int(order[1:])
        (groups.add if sign == "+" else groups.discard)(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    main(sys.stdin)
