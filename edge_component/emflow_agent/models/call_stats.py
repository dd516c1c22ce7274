"""Statistics of the calls of one model since the last report: count, failures, latency percentiles."""

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
    """calls: finished calls; failures: those that failed; p50, p99: latency of the others in milliseconds, including
    the time in the queue; None without any."""

    calls: int
    failures: int
    p50: float | None
    p99: float | None

    def __str__(self) -> str:
        took = "" if self.p50 is None else f", p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms"
        return f"{self.calls} calls, {self.failures} failed{took}"


class CallStats:
    """Counts and times calls. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = self._failures = 0
        self._took: deque[float] = deque(maxlen=REMEMBERED)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure one call; it counts as failed when the block raises."""
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
        """The statistics since the last call of this method."""
        with self._lock:
            calls, failures, took = self._calls, self._failures, list(self._took)
            self._calls = self._failures = 0
            self._took.clear()
        took.sort()
        return CallSummary(calls, failures, percentile(took, 0.5), percentile(took, 0.99))
