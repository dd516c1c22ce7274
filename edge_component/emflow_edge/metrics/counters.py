"""Counters of frames and results.

captured = skipped + inferred + failed + in progress; inferred = published + dropped + filtered + waiting.
"""

from __future__ import annotations

import threading

NAMES = (
    *("captured", "skipped", "inferred", "failed"),
    *("published", "dropped", "filtered", "reconnects"),
    *("captures", "captures_failed"),
)


class Counters:
    """Thread-safe counters; counts of a stream are added to the total too.

    captured: frames from cameras; skipped: frames that were not needed or were replaced by newer ones; inferred:
    predictions; failed: failed predictions; published: results that a sink accepted; dropped: results that waited too
    long; filtered: results that the filter removed; reconnects: reconnected cameras; captures: captures that the agent
    accepted; captures_failed: captures that it refused.
    """

    def __init__(self, whole: Counters | None = None) -> None:
        self._whole = whole
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(NAMES, 0)
        self._streams: dict[str, Counters] = {}

    def for_stream(self, stream: str) -> Counters:
        """The counters of one stream; a new stream with the same name continues them."""
        with self._lock:
            return self._streams.setdefault(stream, Counters(self))

    def add(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._counts[name] += count
        if self._whole is not None:
            self._whole.add(name, count)

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def streams(self) -> dict[str, dict[str, int]]:
        """The counts of each stream, by its name."""
        with self._lock:
            streams = dict(self._streams)
        return {name: counters.snapshot() for name, counters in streams.items()}

    def __str__(self) -> str:
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.snapshot().items())
