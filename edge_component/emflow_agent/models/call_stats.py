"""How the calls of one model went since somebody last asked: how many, how many failed, how long they took."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from emflow_schema.percentile import percentile

# Of a minute, these are all of them up to 130 a second; beyond that, the newest.
REMEMBERED = 8192


@dataclass(frozen=True)
class CallSummary:
    """calls: all that ended; failures: those of them without a result; p50, p99: milliseconds of the others, their wait
    included, None where there is none."""

    calls: int
    failures: int
    p50: float | None
    p99: float | None

    def __str__(self) -> str:
        took = "" if self.p50 is None else f", p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms"
        return f"{self.calls} calls, {self.failures} failed{took}"


class CallStats:
    """Counts calls. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = self._failures = 0
        self._took: deque[float] = deque(maxlen=REMEMBERED)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """One call; it failed where this is left by an exception."""
        began = time.perf_counter()
        try:
            yield
        except BaseException:
            with self._lock:
                self._calls += 1
                self._failures += 1
            raise
        took = time.perf_counter() - began
        with self._lock:
            self._calls += 1
            self._took.append(1000 * took)

    def take_summary(self) -> CallSummary:
        """What came since the last time."""
        with self._lock:
            calls, failures, took = self._calls, self._failures, list(self._took)
            self._calls = self._failures = 0
            self._took.clear()
        took.sort()
        return CallSummary(calls, failures, percentile(took, 0.5), percentile(took, 0.99))
