"""Asking a run to stop: by Ctrl-C, by a supervisor, or because its time is over.

A run that is asked to stop begins nothing new. What it is doing is brought to an end, what it only waits for is left:
jobs go on in AWS, and the next run finds them. So `Stop` is an event that every pause watches, and a future that the
main thread can wait for beside the work of others.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from emflow.problems import Problem


class Stopped(Exception):
    """The whole run is being stopped, so this part of it ends where it is."""


class Stop(threading.Event):
    """Asked for once, seen by all threads.

    `why`: in words, such as `interrupted by Ctrl-C`; `exit_code`: what the process should end with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.why = "interrupted"
        self.exit_code = 1
        self.asked: Future[None] = Future()
        self._first = threading.Lock()

    def ask(self, why: str, exit_code: int) -> bool:
        """Ask to stop; False when somebody has asked before."""
        with self._first:
            if self.is_set():
                return False
            self.why, self.exit_code = why, exit_code
            self.set()
        return True

    def set(self) -> None:
        super().set()
        if not self.asked.done():
            self.asked.set_result(None)

    def pause(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            Stopped: the run is being stopped.
        """
        if self.wait(seconds):
            raise Stopped


class Interrupted(Problem):
    """A run that was asked to stop has stopped.

    Args:
        left: what AWS still works on: resource → its last state.
        halfway: what was begun, and is not finished: resource → how far it got.
        undone: what was not begun.
        failed: what failed on the way.
    """

    def __init__(
        self,
        stop: Stop,
        *,
        left: Mapping[str, str] | None = None,
        halfway: Mapping[str, str] | None = None,
        undone: Sequence[str] = (),
        failed: Sequence[str] = (),
        mend: str = "Run it again: it goes on from there.",
    ) -> None:
        self.left = dict(left or {})
        self.halfway = dict(halfway or {})
        self.undone = tuple(undone)
        self.failed = tuple(failed)
        lines = [stop.why]
        if self.left:
            lines.append(f"  in flight, and going on in AWS: {_states(self.left)}")
        if self.halfway:
            lines.append(f"  left half-way: {_states(self.halfway)}")
        if self.failed:
            lines.append(f"  failed: {', '.join(self.failed)}")
        if self.undone:
            lines.append(f"  not begun: {', '.join(self.undone)}")
        super().__init__("\n".join(lines), mend=mend)
        self.exit_code = stop.exit_code


def _states(resources: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({state})" if state else name for name, state in resources.items())
