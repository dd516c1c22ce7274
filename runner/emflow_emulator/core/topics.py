"""The device's subscriptions at the broker: topic filters, each with its subscribers.

A subscriber gets each message once, also when several filters of the device match it. As in the classic nucleus, the
broker gets no subscription for a filter that another one covers, so such a subscriber gets no retained message
(MqttClient in https://github.com/aws-greengrass/aws-greengrass-nucleus). All are subscribed again after every new
connection, because sessions are clean.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from awscrt import mqtt

from emflow_emulator.mqtt.topic_filters import covers, fits, is_valid

OnMessage = Callable[[str, bytes], None]

_PATIENCE = 5.0
"""Seconds in which the broker has to acknowledge a subscription."""


class SubscribeRefused(Exception):
    """The subscription is refused; the text has the reason."""


@dataclass(eq=False)
class _Listener:
    """A subscriber. `retained`: the topics whose retained message it has got since the device connected."""

    topic_filter: str
    qos: int
    on_message: OnMessage
    retained: set[str] = field(default_factory=set)


class Inbox:
    """Passes the messages of a connection to the subscribers.

    Args:
        connection: not connected yet.
    """

    def __init__(self, connection: mqtt.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._listeners: list[_Listener] = []
        self._subscribed: dict[str, int] = {}
        """The filters at the broker, with their QoS."""
        self._online = False
        connection.on_message(self._dispatch)

    def connected(self) -> None:
        """A new session has begun: subscribe again."""
        with self._lock:
            self._online = True
            self._subscribed.clear()
            for listener in self._listeners:
                listener.retained.clear()
            # The widest filters first: the others are then covered.
            wide_first = sorted(
                self._listeners,
                key=lambda one: sum(covers(one.topic_filter, other.topic_filter) for other in self._listeners),
                reverse=True,
            )
            missing = [listener for listener in wide_first if self._take(listener)]
        for listener in missing:
            self._connection.subscribe(listener.topic_filter, mqtt.QoS(listener.qos))

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
        mine = _Listener(topic_filter, qos, on_message)
        with self._lock:
            self._listeners.append(mine)
            missing = self._online and self._take(mine)
        if missing:
            try:
                done: Future[Any] = self._connection.subscribe(topic_filter, mqtt.QoS(qos))[0]
                done.result(_PATIENCE)
            except Exception as error:  # the library raises exceptions of many types
                self._end(mine)
                raise SubscribeRefused(str(error) or "the broker does not answer") from error
        return lambda: self._end(mine)

    def _take(self, listener: _Listener) -> bool:
        """Whether the broker needs a subscription for a listener, which then counts as subscribed."""
        if any(
            qos >= listener.qos and covers(topic_filter, listener.topic_filter)
            for topic_filter, qos in self._subscribed.items()
        ):
            return False
        self._subscribed[listener.topic_filter] = listener.qos
        return True

    def _end(self, mine: _Listener) -> None:
        with self._lock:
            if mine in self._listeners:
                self._listeners.remove(mine)
            unused = [
                topic_filter
                for topic_filter in self._subscribed
                if not any(covers(topic_filter, each.topic_filter) for each in self._listeners)
            ]
            for topic_filter in unused:
                del self._subscribed[topic_filter]
            online = self._online
        for topic_filter in unused if online else ():
            self._connection.unsubscribe(topic_filter)

    def _dispatch(self, topic: str, payload: bytes, retain: bool = False, **_: Any) -> None:
        with self._lock:
            listeners = [listener for listener in self._listeners if fits(listener.topic_filter, topic)]
            if retain:
                # The broker sends it for each new subscription that matches, and the earlier ones have it already.
                listeners = [listener for listener in listeners if topic not in listener.retained]
                for listener in listeners:
                    listener.retained.add(topic)
        for listener in listeners:
            listener.on_message(topic, payload)


def check(topic_filter: str) -> None:
    """Raises SubscribeRefused for a text that MQTT 3.1.1, 4.7, does not allow as a topic filter."""
    if not is_valid(topic_filter):
        raise SubscribeRefused(f"{topic_filter!r} is not a valid topic filter: + has to be a whole level, # the last")
