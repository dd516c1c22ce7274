"""A slot between two threads that holds the newest item only.

A camera delivers frames at its own rate. A queue between camera and inference would fill up when inference is slower,
and every result would be of an old frame. So the slot holds one item: `put` replaces it, `take` waits for it. `put`
returns how many items were replaced, for the counters.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class SlotClosed(Exception):
    """The slot is closed and empty."""


class LatestSlot(Generic[T]):
    """A one-item slot between two threads; the newest item replaces an older one."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._taken = 0.0
        self._busy = 0.0
        self._asked = False

    def put(self, item: T) -> int:
        """Put an item; returns how many items it replaced (0 or 1). Never blocks."""
        with self._changed:
            replaced = 0 if self._item is None else 1
            self._item = item
            self._changed.notify()
            return replaced

    def take(self, timeout: float | None = None) -> T:
        """Wait for the next item, at most `timeout` seconds.

        Raises:
            TimeoutError: no item came in time.
            SlotClosed: no item will come.
        """
        with self._changed:
            if not self._asked:
                self._asked, self._busy = True, time.monotonic() - self._taken
            if not self._changed.wait_for(lambda: self._item is not None or self._closed, timeout):
                raise TimeoutError
            if self._item is None:
                raise SlotClosed
            item, self._item = self._item, None
            self._taken, self._asked = time.monotonic(), False
            return item

    def clear(self) -> int:
        """Remove the item; returns how many there were (0 or 1)."""
        with self._changed:
            held, self._item = self._item, None
            return 0 if held is None else 1

    def expected_next_take(self) -> float:
        """When the next item will be taken, if the consumer needs as long as last time.

        On the monotonic clock: 0 while a consumer waits, otherwise never in the past; infinite before the first take.
        """
        with self._changed:
            if self._asked:
                return 0.0
            return max(time.monotonic(), self._taken + self._busy) if self._taken else math.inf

    def close(self) -> None:
        """Close the slot and wake the consumer; an item in the slot can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
