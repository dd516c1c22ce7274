"""The newest frame, and no other.

A camera makes frames whether or not anyone is ready for them. A queue between camera and inference would fill up as
soon as inference is the slower one, and every later result would be about the past. So the slot holds one item:
putting replaces, taking waits. Putting tells what was replaced unseen, because somebody will ask.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class SlotClosed(Exception):
    """The producer has gone and nothing is left to take."""


class LatestSlot(Generic[T]):
    """A one-item slot between two threads in which the newest item wins."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._taken = 0.0
        self._busy = 0.0
        self._asked = False

    def put(self, item: T) -> int:
        """Offer an item; how many older ones that nobody took it replaced (0 or 1). Never blocks."""
        with self._changed:
            replaced = 0 if self._item is None else 1
            self._item = item
            self._changed.notify()
            return replaced

    def take(self, timeout: float | None = None) -> T:
        """Wait for the next item, at most `timeout` seconds.

        Raises:
            TimeoutError: nothing came in time.
            Closed: nothing will come any more.
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
        """Take back what nobody took; how many that were (0 or 1)."""
        with self._changed:
            held, self._item = self._item, None
            return 0 if held is None else 1

    def expected_next_take(self) -> float:
        """When the next item will be asked for, if the taker is as busy as it was last time.

        On the monotonic clock: 0 while somebody waits, never in the past else, infinite before the first time.
        """
        with self._changed:
            if self._asked:
                return 0.0
            return max(time.monotonic(), self._taken + self._busy) if self._taken else math.inf

    def close(self) -> None:
        """Wake whoever waits; an item still in the slot can be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
