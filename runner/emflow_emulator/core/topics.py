"""The device's subscriptions at the broker: topic filters, each with its subscribers.

The broker gets one subscription for each filter, for any number of subscribers, and again after every new connection,
because sessions are clean.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from awscrt import mqtt

from emflow_emulator.mqtt.topic_filters import fits, is_valid

OnMessage = Callable[[str, bytes], None]

_PATIENCE = 5.0
"""Seconds in which the broker has to acknowledge a subscription."""


class SubscribeRefused(Exception):
    """The subscription is refused; the text has the reason."""


class Inbox:
    """Passes the messages of a connection to the subscribers.

    Args:
        connection: not connected yet.
    """

    def __init__(self, connection: mqtt.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._listeners: dict[object, tuple[str, int, OnMessage]] = {}
        self._online = False
        connection.on_message(self._dispatch)

    def connected(self) -> None:
        """A new session has begun: subscribe to all filters."""
        with self._lock:
            self._online = True
            filters = {topic_filter: qos for topic_filter, qos, _ in self._listeners.values()}
        for topic_filter, qos in filters.items():
            self._connection.subscribe(topic_filter, mqtt.QoS(qos))

    def lost(self) -> None:
        with self._lock:
            self._online = False

    def subscribe(self, topic_filter: str, qos: int, on_message: OnMessage) -> Callable[[], None]:
        """Call `on_message` for messages to these topics; the returned function ends the subscription.

        While the broker is not connected, the subscription is accepted, and begins with the next connection.

        Raises:
            SubscribeRefused: the topic filter is not valid, or the broker refuses it.
        """
        check(topic_filter)
        mine = object()
        with self._lock:
            subscribed = any(each == topic_filter for each, _, _ in self._listeners.values())
            self._listeners[mine] = (topic_filter, qos, on_message)
            online = self._online
        if online and not subscribed:
            try:
                done: Future[Any] = self._connection.subscribe(topic_filter, mqtt.QoS(qos))[0]
                done.result(_PATIENCE)
            except Exception as error:  # the library raises exceptions of many types
                self._end(mine, topic_filter)
                raise SubscribeRefused(str(error) or "the broker does not answer") from error
        return lambda: self._end(mine, topic_filter)

    def _end(self, mine: object, topic_filter: str) -> None:
        with self._lock:
            self._listeners.pop(mine, None)
            last = not any(each == topic_filter for each, _, _ in self._listeners.values())
            online = self._online
        if last and online:
            self._connection.unsubscribe(topic_filter)

    def _dispatch(self, topic: str, payload: bytes, **_: Any) -> None:
        with self._lock:
            listeners = [
                on_message for topic_filter, _, on_message in self._listeners.values() if fits(topic_filter, topic)
            ]
        for on_message in listeners:
            on_message(topic, payload)


def check(topic_filter: str) -> None:
    """Raises SubscribeRefused for a text that MQTT 3.1.1, 4.7, does not allow as a topic filter."""
    if not is_valid(topic_filter):
        raise SubscribeRefused(f"{topic_filter!r} is not a valid topic filter: + has to be a whole level, # the last")
