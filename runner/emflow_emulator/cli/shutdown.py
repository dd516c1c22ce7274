"""How `emflow up` ends on a signal, or when one of its processes has ended by itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from emflow_emulator.stack import Stack


class Shutdown:
    """Stops everything and ends the process, once, from the first thread that calls it.

    The main thread may be waiting for an answer of an embedded AWS that has just ended. So the process ends without
    waiting for the main thread, and the errors of the main thread are not printed.
    """

    def __init__(self, console: Console, stack: Stack) -> None:
        self._console = console
        self._stack = stack
        self._first = threading.Lock()

    def on_signal(self, number: int) -> None:
        """Ctrl-C is the normal end (exit code 0); after SIGTERM or SIGHUP the exit code is 128 + number."""
        self._now(0 if number == signal.SIGINT else 128 + number, "Stopping.")

    def on_death(self, name: str, why: str) -> None:
        """One of the processes ended by itself."""
        self._now(1, f"emflow: the {name} process ended by itself: {why}")

    def _now(self, code: int, say: str) -> None:
        if not self._first.acquire(blocking=False):
            return
        try:
            self._stack.abandon(lambda: self._console.print(say, markup=False))
            self._console.show_cursor()
            sys.stdout.flush()
        finally:
            os._exit(code)
