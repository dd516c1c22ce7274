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
        self._calls = self._failures = self._running = 0
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        self._ended_at = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """For how long there was no call, those that wait included; since the model was loaded when there was none."""
        with self._lock:
            return 0.0 if self._running else time.monotonic() - self._ended_at

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure one call; it counts as failed when the block raises."""
        began = time.perf_counter()
        with self._lock:
            self._running += 1
        took = None
        try:
            yield
            took = time.perf_counter() - began
        finally:
            with self._lock:
                self._running -= 1
                self._ended_at = time.monotonic()
                self._calls += 1
                if took is None:
                    self._failures += 1
                else:
                    self._took.append(1000 * took)

    def take_summary(self) -> CallSummary:
        """The statistics since the last call of this method."""
        with self._lock:
            calls, failures, took = self._calls, self._failures, list(self._took)
            self._calls = self._failures = 0
            self._took.clear()
        took.sort()
        return CallSummary(calls, failures, percentile(took, 0.5), percentile(took, 0.99))
