"""What happened to the frames and to their results, in numbers that add up.

captured = skipped + inferred + failed + those under way; inferred = published + dropped + filtered + those waiting.
"""

from __future__ import annotations

import threading

NAMES = (
    *("captured", "skipped", "inferred", "failed"),
    *("published", "dropped", "filtered", "reconnects"),
    *("captures", "captures_failed"),
)


class Counters:
    """Counts that several threads add to; those of a stream count for the whole too.

    captured: frames that a camera delivered; skipped: those that nobody wanted or that a newer one replaced;
    inferred: results of the agent; failed: Predict calls without one; published: results that an outlet took;
    dropped: results that waited too long for it; filtered: results that were not to be published; reconnects: cameras
    that came back; captures: results whose tensors the agent took for its captured data; captures_failed: those it did
    not take.
    """

    def __init__(self, whole: Counters | None = None) -> None:
        self._whole = whole
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(NAMES, 0)
        self._streams: dict[str, Counters] = {}

    def for_stream(self, stream: str) -> Counters:
        """The counters of one stream. They go on when a stream of that name ends and another begins."""
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
