"""What happened to the frames, in numbers, for one log line a minute."""

from __future__ import annotations

import threading

NAMES = ("captured", "skipped", "inferred", "failed", "published", "dropped", "reconnects")


class Counters:
    """Counts that several threads add to.

    captured: frames that a camera delivered; skipped: those that nobody wanted or that a newer one replaced;
    inferred: results of the agent; failed: Predict calls without one; published: results that an outlet took;
    dropped: results that waited too long for it; reconnects: cameras that came back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(NAMES, 0)

    def add(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._counts[name] += count

    def now(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.now().items())
