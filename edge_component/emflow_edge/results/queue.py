"""What is to be sent, from whoever makes it to the thread that sends it; every result is counted once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Union

from emflow_edge.metrics.counters import Counters
from emflow_edge.results.filters import ResultFilter
from emflow_edge.results.message import Result
from emflow_edge.results.sinks import Message
from emflow_schema.edge_config import Publish

# Results that wait to be sent: in order as long as all goes well, the newest first after an outage.


@dataclass(frozen=True)
class QueuedResult:
    """A result and its place in the order in which results were made."""

    number: int
    result: Result


class ResultBacklog:
    """At most `depth` results; when another comes, the oldest goes. Used by one thread at a time."""

    def __init__(self, depth: int) -> None:
        self._depth, self._made = depth, 0
        # Both oldest first. What is in the backlog is older than what is not.
        self._backlog: deque[QueuedResult] = deque()
        self._fresh: deque[QueuedResult] = deque()

    def __len__(self) -> int:
        return len(self._backlog) + len(self._fresh)

    def put(self, result: Result) -> list[Result]:
        """Take a result along; those that had to go for it."""
        self._fresh.append(QueuedResult(self._made, result))
        self._made += 1
        return self._shorten()

    def take(self) -> QueuedResult | None:
        """The next one to send: the oldest of those since the outage, then the newest of those before its end."""
        if self._fresh:
            return self._fresh.popleft()
        return self._backlog.pop() if self._backlog else None

    def outage(self, under_way: Iterable[QueuedResult] = ()) -> list[Result]:
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


QueueItem = Union[QueuedResult, Message]
"""A result, whose message is made when it is sent; or a message that is none."""


class PublishQueue:
    """Used by several threads; `changed` is its lock, and is notified when there is something new.

    Args:
        to: which results, and how.
        depth: how many results may wait, beside those under way.
        limit: how many are to be published; 0 for all.
    """

    def __init__(self, to: Publish, counters: Counters, depth: int, limit: int) -> None:
        self.changed = threading.Condition()
        self.to = to
        self._counters, self._limit = counters, limit
        self._filter, self._waiting = ResultFilter(), ResultBacklog(depth)
        self._announced: dict[str, Message] = {}
        self._under_way: dict[int, QueuedResult] = {}
        self._closed = False

    @property
    def empty(self) -> bool:
        """Whether nothing waits and no result is under way."""
        return not (self._waiting or self._announced or self._under_way)

    @property
    def has_next(self) -> bool:
        return bool(self._announced) or (bool(self._waiting) and self._may_send())

    @property
    def done(self) -> bool:
        """Whether as many are published as were to be."""
        return 0 < self._limit <= self._counters.snapshot()["published"]

    def put(self, result: Result) -> None:
        with self.changed:
            if self._closed:
                self._counters.add("dropped")
            elif self._filter.passes(result, self.to):
                self._drop(self._waiting.put(result))
                self.changed.notify()
            else:
                self._counters.add("filtered")

    def announce(self, message: Message) -> None:
        """Of those that wait for a topic, only the newest is kept."""
        with self.changed:
            self._announced[message.topic] = message
            self.changed.notify()

    def announce_again(self, messages: Iterable[Message]) -> None:
        """Send these first, but for those that a newer one waits to replace."""
        with self.changed:
            self._announced = {**{message.topic: message for message in messages}, **self._announced}

    def take(self) -> QueueItem | None:
        """The next one to be sent; a result is under way from now on."""
        with self.changed:
            if self._announced:
                return self._announced.pop(next(iter(self._announced)))
            entry = self._waiting.take() if self._may_send() else None
            if entry:
                self._under_way[entry.number] = entry
            return entry

    def published(self, entry: QueuedResult) -> bool:
        """A result has arrived; whether it still counts."""
        with self.changed:
            counts = self._under_way.pop(entry.number, None) is not None
            if counts:
                self._counters.add("published")
            return counts

    def refused(self, entry: QueuedResult) -> None:
        """A result will never arrive."""
        with self.changed:
            if self._under_way.pop(entry.number, None):
                self._drop([entry.result])

    def outage(self) -> None:
        """Nothing that is under way arrives; from now on it waits again."""
        with self.changed:
            self._drop(self._waiting.outage(self._under_way.values()))
            self._under_way.clear()

    def close(self) -> None:
        """Everything that is left, and all that still comes, counts as dropped."""
        with self.changed:
            self._closed = True
            self._counters.add("dropped", self._waiting.clear() + len(self._under_way))
            self._under_way.clear()

    def _may_send(self) -> bool:
        return not self._limit or self._counters.snapshot()["published"] + len(self._under_way) < self._limit

    def _drop(self, results: Iterable[Result]) -> None:
        for result in results:
            self._filter.lost(result)
            self._counters.add("dropped")
