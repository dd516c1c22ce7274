"""The newest frame, and no other.

A camera makes frames whether or not anyone is ready for them. A queue between camera and inference would fill up as
soon as inference is the slower one, and every later result would be about the past. So the slot holds one item:
putting replaces, taking waits. Putting tells what was replaced unseen, because somebody will ask.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The producer has gone and nothing is left to take."""


class Newest(Generic[T]):
    """A one-item slot between two threads in which the newest item wins."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._closed = False
        self._changed = threading.Condition()

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
            if not self._changed.wait_for(lambda: self._item is not None or self._closed, timeout):
                raise TimeoutError
            if self._item is None:
                raise Closed
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Wake whoever waits; an item still in the slot can be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
