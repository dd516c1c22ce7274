"""Ending well: what Ctrl-C, a supervisor's signal or a time limit does to a command that talks to AWS.

The first one asks the run to stop. It begins nothing new, brings to an end what it is doing, and says what it leaves.
The second one ends the process at once. Either way nobody waits for threads that wait for an address that never
answers: the process is ended here rather than by the interpreter, which would.

Signals are heard in a thread, as they come over the wake-up descriptor: a Python signal handler runs in the main
thread, between two of its steps, and may need a lock that this thread holds.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import NoReturn

import typer

from emflow.engine.cancellation import Interrupted, Stop

WHY = {
    signal.SIGINT: "interrupted by Ctrl-C",
    signal.SIGTERM: "asked to end (SIGTERM)",
    signal.SIGHUP: "the terminal was closed",
}


class Interrupts:
    """Hears signals between `with` and its end; to be entered once, in the main thread.

    Args:
        heard: is called from a thread with why the run is to stop, when that is asked for first.
        timeout: seconds for everything in it; None is no limit.
        limit: how the limit was put, for people.
    """

    def __init__(self, heard: Callable[[str], object], timeout: float | None = None, limit: str = "") -> None:
        self.stop = Stop()
        self._heard = heard
        self._timeout = timeout
        self._limit = limit
        self._asking = False

    def __enter__(self) -> Interrupts:
        receiver, sender = os.pipe()
        os.set_blocking(sender, False)
        signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
        for number in (*WHY, signal.SIGALRM):
            signal.signal(number, self._while_asking)
        if self._timeout is not None:
            signal.setitimer(signal.ITIMER_REAL, max(self._timeout, 0.001))
        threading.Thread(target=self._listen, args=(receiver,), name="signals", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if isinstance(error, Interrupted):
            typer.echo(f"emflow: {error}", err=True)
            _end(error.exit_code)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While a person is asked something: nothing is under way, so the first signal ends it right there."""
        self._asking = True
        try:
            yield
        finally:
            self._asking = self.stop.is_set()  # the same signal, still on its way to the thread, is no second one

    @property
    def by_hand(self) -> bool:
        """Whether Ctrl-C was what came first."""
        return self.stop.exit_code == 128 + signal.SIGINT

    def end(self, code: int) -> NoReturn:
        """End the process, whatever its threads are doing."""
        _end(code)

    def _listen(self, receiver: int) -> None:
        while True:
            for number in os.read(receiver, 64):
                if not self._asking and number in (*WHY, signal.SIGALRM):
                    self._take(number)

    def _take(self, number: int) -> None:
        why, code = self._reason(number)
        if self.stop.ask(why, code):
            self._heard(why)
        elif number != signal.SIGALRM:
            _end(code)

    def _while_asking(self, number: int, _: FrameType | None) -> None:
        if self._asking:
            why, code = self._reason(number)
            self.stop.ask(why, code)
            raise Interrupted(self.stop, mend="Nothing was changed.")

    def _reason(self, number: int) -> tuple[str, int]:
        if number == signal.SIGALRM:
            return f"not done within {self._limit}", 1
        return WHY[signal.Signals(number)], 128 + number


def _end(code: int) -> NoReturn:
    """End the process, whatever its threads are doing."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")  # the cursor, which a live display hides
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
