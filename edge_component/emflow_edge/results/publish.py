"""Results on their way out: a bounded queue and its thread, so that no slow or absent broker holds up inference."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from emflow_edge.backoff import Backoff
from emflow_edge.counters import Counters
from emflow_edge.problems import EdgeProblem
from emflow_edge.results.message import Result
from emflow_edge.results.outlets import Outlet

log = logging.getLogger(__name__)

DEPTH = 100


class Publisher:
    """Sends results in order, each until the outlet takes it. When too many wait, the oldest goes.

    Args:
        outlet: where to.
        limit: stop after so many; 0 means never.
        finished: called once, with None when `limit` is reached or with what ended it.
        depth: how many results may wait.
        clock: Unix time, which a result's age is counted by.
    """

    def __init__(
        self,
        outlet: Outlet,
        counters: Counters,
        finished: Callable[[EdgeProblem | None], object],
        limit: int = 0,
        depth: int = DEPTH,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outlet, self._counters, self._finished = outlet, counters, finished
        self._limit, self._depth, self._clock = limit, depth, clock
        self._waiting: deque[Result] = deque()
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._failing = False
        self._sent = 0
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, result: Result) -> None:
        """Take a result along. Never blocks."""
        with self._changed:
            if len(self._waiting) >= self._depth:
                self._waiting.popleft()
                self._counters.add("dropped")
            self._waiting.append(result)
            self._changed.notify()

    def close(self, grace: float) -> bool:
        """Send what waits, for at most `grace` seconds, and end; what is left then is counted as dropped.

        Returns whether its thread has ended; an outlet that hangs may hold it.
        """
        with self._changed:
            self._deadline = time.monotonic() + grace
            self._changed.notify()
        self._thread.join(grace)
        with self._changed:
            self._counters.add("dropped", len(self._waiting))
            self._waiting.clear()
        return not self._thread.is_alive()

    def _run(self) -> None:
        backoff = Backoff(0.2, 5.0)
        try:
            while True:
                result = self._next()
                if result is None:
                    return
                try:
                    self._outlet.send(result.message(self._clock()))
                except EdgeProblem as problem:
                    self._finished(problem)
                    return
                except Exception as error:
                    # Whatever the outlet's library raises: not delivered, so again.
                    self._failed(error)
                    if self._wait(backoff.delay()):
                        return
                    continue
                backoff.reset()
                if self._delivered(result):
                    self._finished(None)
                    return
        finally:
            self._outlet.close()

    def _next(self) -> Result | None:
        """The oldest result, left in its place until it is delivered; None when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._deadline is not None)
            if not self._waiting or (self._deadline is not None and time.monotonic() >= self._deadline):
                return None
            return self._waiting[0]

    def _delivered(self, result: Result) -> bool:
        """Count it; whether it was the last one wanted."""
        with self._changed:
            if self._waiting and self._waiting[0] is result:
                self._waiting.popleft()
            else:
                # It was dropped for a newer one while it was on its way, but it arrived.
                self._counters.add("dropped", -1)
        self._counters.add("published")
        self._sent += 1
        if self._failing:
            self._failing = False
            log.info("publishing again")
        return self._sent == self._limit

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            words = getattr(error, "message", None) or str(error) or type(error).__name__
            log.warning("results cannot be published: %s; keeping the newest %d and trying on", words, self._depth)

    def _wait(self, seconds: float) -> bool:
        """Wait before the next try; whether it is time to end instead."""
        with self._changed:
            if self._deadline is not None:
                seconds = min(seconds, max(0.0, self._deadline - time.monotonic()))
            # A close() during a long wait cuts it short for one last try.
            had = self._deadline
            self._changed.wait_for(lambda: self._deadline != had, seconds)
            return self._deadline is not None and time.monotonic() >= self._deadline
