"""The numbers of results: one count for each stream name, for as long as the process runs.

A stream that is removed, replaced or comes back goes on with the numbers of those that had its name before, so that no
number is used twice. A new process counts from 0 again; the results of each process name it (`run`).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

from emflow_edge.results.message import Result


class Sequence:
    """The numbers of one stream name. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0

    def emit(self, make: Callable[[int], Result], emit: Callable[[Result], object]) -> Result:
        """Make the result with the next number, and emit it before any with a later number; `emit` must not block."""
        with self._lock:
            result = make(self._next)
            self._next += 1
            emit(result)
            return result


class Sequences:
    """The numbers of all streams of this process. run: names it in their results. Thread-safe."""

    def __init__(self) -> None:
        self.run = uuid.uuid4().hex[:12]
        self._lock = threading.Lock()
        self._streams: dict[str, Sequence] = {}

    def of(self, stream: str) -> Sequence:
        with self._lock:
            return self._streams.setdefault(stream, Sequence())
