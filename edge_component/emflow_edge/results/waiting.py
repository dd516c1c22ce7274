"""Results that wait to be sent: in order as long as all goes well, the newest first after an outage."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from emflow_edge.results.message import Result


@dataclass(frozen=True)
class Entry:
    """A result and its place in the order in which results were made."""

    number: int
    result: Result


class Waiting:
    """At most `depth` results; when another comes, the oldest goes. Used by one thread at a time."""

    def __init__(self, depth: int) -> None:
        self._depth, self._made = depth, 0
        # Both oldest first. What is in the backlog is older than what is not.
        self._backlog: deque[Entry] = deque()
        self._fresh: deque[Entry] = deque()

    def __len__(self) -> int:
        return len(self._backlog) + len(self._fresh)

    def put(self, result: Result) -> list[Result]:
        """Take a result along; those that had to go for it."""
        self._fresh.append(Entry(self._made, result))
        self._made += 1
        return self._shorten()

    def take(self) -> Entry | None:
        """The next one to send: the oldest of those since the outage, then the newest of those before its end."""
        if self._fresh:
            return self._fresh.popleft()
        return self._backlog.pop() if self._backlog else None

    def outage(self, under_way: Iterable[Entry] = ()) -> list[Result]:
        """What waits, and what was under way, has waited for long when it can be sent; those that are too many."""
        everything = sorted([*under_way, *self._backlog, *self._fresh], key=lambda entry: entry.number)
        self._backlog, self._fresh = deque(everything), deque()
        return self._shorten()

    def clear(self) -> int:
        """Forget all; how many there were."""
        count = len(self)
        self._backlog.clear()
        self._fresh.clear()
        return count

    def _shorten(self) -> list[Result]:
        gone = []
        while len(self) > self._depth:
            gone.append((self._backlog or self._fresh).popleft().result)
        return gone
