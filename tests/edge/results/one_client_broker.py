"""The other side of a component's sinks: a broker for one client, with retained messages and last wills."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from emflow_edge.results.sinks import Message, MessageRejected


class OneClientBroker:
    """Takes messages while it is up, but for topics that it rejects.

    made: sinks that were made; most_open_sinks: that were connected at a time, of which a real broker lets one in.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.up = True
        self.rejects: set[str] = set()
        self.taken: list[Message] = []
        self.retained: dict[str, Message] = {}
        self.made = self.most_open_sinks = 0
        self._sinks: list[Sink] = []

    def sink(self) -> Sink:
        """A sink of a configuration."""
        self.made += 1
        return Sink(self)

    @property
    def will(self) -> Message | None:
        """The last will of the client that is connected."""
        with self.lock:
            return self._sinks[-1].will if self._sinks else None

    def go_away(self) -> None:
        """End all connections, and take none."""
        with self.lock:
            self.up = False
            sinks, self._sinks = self._sinks, []
            for sink in sinks:
                if sink.will is not None:
                    self.take(sink.will)
        for sink in sinks:
            sink.lost()

    def come_back(self) -> None:
        with self.lock:
            self.up = True

    def take(self, message: Message) -> None:
        self.taken.append(message)
        if message.retain:
            self.retained.pop(message.topic, None)
            if message.payload:
                self.retained[message.topic] = message

    def connected(self, sink: Sink) -> None:
        self._sinks.append(sink)
        self.most_open_sinks = max(self.most_open_sinks, len(self._sinks))

    def disconnected(self, sink: Sink) -> None:
        if sink in self._sinks:
            self._sinks.remove(sink)

    def has(self, sink: Sink) -> bool:
        return sink in self._sinks

    def results(self) -> list[tuple[str, dict[str, Any]]]:
        """Topic and content of each result, in the order in which they came."""
        with self.lock:
            messages = [message for message in self.taken if message.payload]
        read = [(message.topic, json.loads(message.payload)) for message in messages]
        return [(topic, content) for topic, content in read if "sequence" in content]


class Sink:
    """One connection (`MessageSink`)."""

    def __init__(self, broker: OneClientBroker) -> None:
        self._broker = broker
        self.will: Message | None = None
        self.lost: Callable[[], object] = lambda: None

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        with self._broker.lock:
            if not self._broker.up:
                raise ConnectionError("the broker is away")
            self.lost, self.will = lost, will
            self._broker.connected(self)

    def send(self, message: Message) -> Future[Any]:
        answer: Future[Any] = Future()
        with self._broker.lock:
            connected, rejected = self._broker.has(self), message.topic in self._broker.rejects
            if connected and not rejected:
                self._broker.take(message)
        if connected and rejected:
            answer.set_exception(MessageRejected("not authorized"))
        elif connected:
            answer.set_result(None)
        else:
            answer.set_exception(ConnectionError("the connection was lost"))
        return answer

    def close(self) -> None:
        with self._broker.lock:
            self._broker.disconnected(self)
