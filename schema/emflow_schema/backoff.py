"""How long to wait before the next try: longer each time, up to a bound, and never in step with others."""

from __future__ import annotations

import random


class Backoff:
    """Delays that double from `first` to `most` seconds, each shortened by chance to between half and all of it."""

    def __init__(self, first: float, most: float) -> None:
        self._first, self._most = first, most
        self._next = first

    def delay(self) -> float:
        """The next delay in seconds."""
        whole = self._next
        self._next = min(self._most, whole * 2)
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 nothing secret about it

    def reset(self) -> None:
        self._next = self._first
