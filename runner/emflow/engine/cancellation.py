"""Cancellation of a run: by Ctrl-C, by a supervisor, or because its time is over.

A cancelled run begins nothing new. It finishes the call that it is making, and stops waiting for jobs: they go on in
AWS, and the next run finds them. `Cancellation` is an event that every pause watches, and a future that the main thread
can wait for together with the work of others.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from emflow.problems import Problem


class Cancelled(Exception):
    """The whole run is being cancelled, so this part of it ends where it is."""


class Cancellation(threading.Event):
    """Requested once, seen by all threads.

    `reason`: in words, such as `interrupted by Ctrl-C`; `exit_code`: what the process should end with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reason = "interrupted"
        self.exit_code = 1
        self.requested: Future[None] = Future()
        self._first = threading.Lock()

    def request(self, reason: str, exit_code: int) -> bool:
        """Cancel the run; False when it has been cancelled before."""
        with self._first:
            if self.is_set():
                return False
            self.reason, self.exit_code = reason, exit_code
            self.set()
        return True

    def set(self) -> None:
        super().set()
        if not self.requested.done():
            self.requested.set_result(None)

    def pause(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            Cancelled: the run is being cancelled.
        """
        if self.wait(seconds):
            raise Cancelled


class Interrupted(Problem):
    """A run ended because it was cancelled.

    Args:
        in_flight: what AWS still works on: resource → its last state.
        unfinished: what was begun, and is not finished: resource → how far it got.
        not_begun: what was not begun.
        failed: what failed on the way.
    """

    def __init__(
        self,
        cancellation: Cancellation,
        *,
        in_flight: Mapping[str, str] | None = None,
        unfinished: Mapping[str, str] | None = None,
        not_begun: Sequence[str] = (),
        failed: Sequence[str] = (),
        mend: str = "Run it again: it continues from there.",
    ) -> None:
        self.in_flight = dict(in_flight or {})
        self.unfinished = dict(unfinished or {})
        self.not_begun = tuple(not_begun)
        self.failed = tuple(failed)
        lines = [cancellation.reason]
        if self.in_flight:
            lines.append(f"  in flight, and continuing in AWS: {_states(self.in_flight)}")
        if self.unfinished:
            lines.append(f"  left unfinished: {_states(self.unfinished)}")
        if self.failed:
            lines.append(f"  failed: {', '.join(self.failed)}")
        if self.not_begun:
            lines.append(f"  not begun: {', '.join(self.not_begun)}")
        super().__init__("\n".join(lines), mend=mend)
        self.exit_code = cancellation.exit_code


def _states(resources: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({state})" if state else name for name, state in resources.items())
