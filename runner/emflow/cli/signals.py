"""Signals and time limits: Ctrl-C, a supervisor's signal or `--timeout` while a command talks to AWS.

The first one asks the run to cancellation: it starts nothing new, completes what it is doing, and lists what it leaves
unfinished. The second one ends the process at once. In both cases the process is ended here and not by the
interpreter, which would wait for threads that may be waiting for an address that never answers.

Signals are received in a thread, through the wake-up descriptor. A Python signal handler would run in the main thread,
between two of its instructions, and could need a lock that this thread holds.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import NoReturn

import click

from emflow.engine.cancellation import Cancellation, Interrupted
from emflow_schema.signals import Signals

REASONS = {
    signal.SIGINT: "interrupted by Ctrl-C",
    signal.SIGTERM: "asked to end (SIGTERM)",
    signal.SIGHUP: "the terminal was closed",
}


class SignalHandling:
    """A context manager that handles signals; to be entered once, in the main thread.

    Args:
        on_stop: called once, from a thread, with the reason why the run has to stop.
        timeout: seconds for the whole context; None is no limit.
        limit: the timeout as the user wrote it, for messages.
    """

    def __init__(self, on_stop: Callable[[str], object], timeout: float | None = None, limit: str = "") -> None:
        self.cancellation = Cancellation()
        self._on_stop = on_stop
        self._timeout = timeout
        self._limit = limit
        self._prompting = False

    def __enter__(self) -> SignalHandling:
        Signals((*REASONS, signal.SIGALRM), self._handle, self._during_prompt)
        if self._timeout is not None:
            signal.setitimer(signal.ITIMER_REAL, max(self._timeout, 0.001))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if isinstance(error, Interrupted):
            click.echo(f"emflow: {error}", err=True)
            _end(error.exit_code)

    @contextmanager
    def prompting(self) -> Iterator[None]:
        """Around a prompt: nothing is in progress, so the first signal ends the command at once."""
        self._prompting = True
        try:
            yield
        finally:
            self._prompting = (
                self.cancellation.is_set()
            )  # so that the thread does not count the same signal as a second one

    @property
    def by_ctrl_c(self) -> bool:
        """Whether the first signal was Ctrl-C."""
        return self.cancellation.exit_code == 128 + signal.SIGINT

    def end(self, code: int) -> NoReturn:
        """End the process without waiting for its threads."""
        _end(code)

    def _handle(self, number: int) -> None:
        if self._prompting:
            return
        why, code = self._reason(number)
        if self.cancellation.request(why, code):
            self._on_stop(why)
        elif number != signal.SIGALRM:
            _end(code)

    def _during_prompt(self, number: int, _: FrameType | None) -> None:
        if self._prompting:
            why, code = self._reason(number)
            self.cancellation.request(why, code)
            raise Interrupted(self.cancellation, mend="Nothing was changed.")

    def _reason(self, number: int) -> tuple[str, int]:
        if number == signal.SIGALRM:
            return f"not done within {self._limit}", 1
        return REASONS[signal.Signals(number)], 128 + number


def _end(code: int) -> NoReturn:
    """End the process without waiting for its threads."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")  # show the cursor, which a live display hides
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
