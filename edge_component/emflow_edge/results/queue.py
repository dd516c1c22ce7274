"""The queue between pipelines and publisher; every result is counted exactly once."""

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


@dataclass(frozen=True)
class QueuedResult:
    """A result, its number in the order of arrival, and the settings that it is published with: those of the
    configuration that it was made under."""

    number: int
    result: Result
    to: Publish


class ResultBacklog:
    """At most `depth` waiting results, the oldest is dropped for a new one; in order, or newest first after an outage.

    Not thread-safe.
    """

    def __init__(self, depth: int) -> None:
        self._depth, self._made = depth, 0
        # Both oldest first. The backlog (from before the outage) is older than the fresh results.
        self._backlog: deque[QueuedResult] = deque()
        self._fresh: deque[QueuedResult] = deque()

    def __len__(self) -> int:
        return len(self._backlog) + len(self._fresh)

    def put(self, result: Result, to: Publish) -> list[Result]:
        """Add a result; returns the results that were dropped for it."""
        self._fresh.append(QueuedResult(self._made, result, to))
        self._made += 1
        return self._shorten()

    def take(self) -> QueuedResult | None:
        """The next result to send: the oldest since the outage, then the newest of the backlog."""
        if self._fresh:
            return self._fresh.popleft()
        return self._backlog.pop() if self._backlog else None

    def outage(self, under_way: Iterable[QueuedResult] = ()) -> list[Result]:
        """Move all results, and those in flight, to the backlog; returns the results that were dropped."""
        everything = sorted([*under_way, *self._backlog, *self._fresh], key=lambda entry: entry.number)
        self._backlog, self._fresh = deque(everything), deque()
        return self._shorten()

    def clear(self) -> int:
        """Remove all; returns how many there were."""
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
"""A result, whose message is made when it is sent, or another message."""


class PublishQueue:
    """Thread-safe; `changed` is its lock, and is notified when an item is added.

    Args:
        to: publish settings, of what was made under no others.
        depth: how many results may wait, besides those in flight.
        limit: publish only so many results; 0 for all.
    """

    def __init__(self, to: Publish, counters: Counters, depth: int, limit: int) -> None:
        self.changed = threading.Condition()
        self.to = to
        self._counters, self._limit = counters, limit
        self._filter, self._waiting = ResultFilter(), ResultBacklog(depth)
        self._announced: dict[str, Message] = {}
        self._in_flight: dict[int, QueuedResult] = {}
        self._closed = False

    @property
    def empty(self) -> bool:
        """Whether nothing waits and no result is in flight."""
        return not (self._waiting or self._announced or self._in_flight)

    @property
    def has_next(self) -> bool:
        return bool(self._announced) or (bool(self._waiting) and self._may_send())

    @property
    def done(self) -> bool:
        """Whether `limit` results are published."""
        return 0 < self._limit <= self._counters.snapshot()["published"]

    def put(self, result: Result) -> None:
        with self.changed:
            to = result.settings.publish if result.settings else self.to
            if self._closed:
                self._counters.add("dropped")
            elif self._filter.passes(result, to):
                self._drop(self._waiting.put(result, to))
                self.changed.notify()
            else:
                self._counters.add("filtered")

    def use(self, to: Publish) -> None:
        """Use other settings. What is retained on a status topic that is no longer used is removed there."""
        with self.changed:
            before, self.to = self.to, to
            if before.status_topic and before.status_topic != to.status_topic:
                removal = Message(before.status_topic, "", before.qos, retain=True, lasting=True)
                self._announced[removal.topic] = removal
            self.changed.notify()

    def announce(self, topic: str, payload: str, retain: bool) -> None:
        """Queue a message; only the newest one of a topic is kept.

        What would be retained on another topic than that of the status is not sent: its settings have just changed.
        """
        with self.changed:
            if retain and topic != self.to.status_topic:
                return
            self._announced[topic] = Message(topic, payload, self.to.qos, retain, lasting=True)
            self.changed.notify()

    def announce_again(self, messages: Iterable[Message]) -> None:
        """Queue these first, unless a newer message of the topic is waiting."""
        with self.changed:
            self._announced = {**{message.topic: message for message in messages}, **self._announced}

    def take(self) -> QueueItem | None:
        """The next item to send; a result is in flight from now on."""
        with self.changed:
            if self._announced:
                return self._announced.pop(next(iter(self._announced)))
            entry = self._waiting.take() if self._may_send() else None
            if entry:
                self._in_flight[entry.number] = entry
            return entry

    def published(self, entry: QueuedResult) -> bool:
        """A result was delivered; whether it is counted now."""
        with self.changed:
            counts = self._in_flight.pop(entry.number, None) is not None
            if counts:
                self._counters.add("published")
            return counts

    def refused(self, entry: QueuedResult) -> None:
        """A result was rejected."""
        with self.changed:
            if self._in_flight.pop(entry.number, None):
                self._drop([entry.result])

    def outage(self) -> None:
        """The connection failed: results in flight wait again."""
        with self.changed:
            self._drop(self._waiting.outage(self._in_flight.values()))
            self._in_flight.clear()

    def close(self) -> None:
        """All remaining and future results count as dropped."""
        with self.changed:
            self._closed = True
            self._counters.add("dropped", self._waiting.clear() + len(self._in_flight))
            self._in_flight.clear()

    def _may_send(self) -> bool:
        return not self._limit or self._counters.snapshot()["published"] + len(self._in_flight) < self._limit

    def _drop(self, results: Iterable[Result]) -> None:
        for result in results:
            self._filter.lost(result)
            self._counters.add("dropped")
