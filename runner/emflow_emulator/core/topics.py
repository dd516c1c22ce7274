"""What the device hears from the broker: topic filters, each with those who listen.

The broker is asked for a filter once, however many listen to it, and again after every new connection, for sessions are
clean.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from awscrt import mqtt

Hear = Callable[[str, bytes], None]

_PATIENCE = 5.0
"""Seconds in which the broker has to answer a subscription."""


class SubscribeRefused(Exception):
    """There is no such subscription; the text says why."""


class Inbox:
    """Dispatches what comes on one connection.

    Args:
        connection: not connected yet.
    """

    def __init__(self, connection: mqtt.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._listeners: dict[object, tuple[str, int, Hear]] = {}
        self._online = False
        connection.on_message(self._heard)

    def connected(self) -> None:
        """There is a fresh session: ask for everything."""
        with self._lock:
            self._online = True
            wanted = {topic_filter: qos for topic_filter, qos, _ in self._listeners.values()}
        for topic_filter, qos in wanted.items():
            self._connection.subscribe(topic_filter, mqtt.QoS(qos))

    def lost(self) -> None:
        with self._lock:
            self._online = False

    def subscribe(self, topic_filter: str, qos: int, hear: Hear) -> Callable[[], None]:
        """Listen; what is returned ends that. While the broker is away it is taken, and begins when it is back.

        Raises:
            SubscribeRefused: it is no topic filter, or the broker does not want it.
        """
        check(topic_filter)
        mine = object()
        with self._lock:
            known = any(each == topic_filter for each, _, _ in self._listeners.values())
            self._listeners[mine] = (topic_filter, qos, hear)
            online = self._online
        if online and not known:
            try:
                done: Future[Any] = self._connection.subscribe(topic_filter, mqtt.QoS(qos))[0]
                done.result(_PATIENCE)
            except Exception as error:  # the library raises what it likes
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

    def _heard(self, topic: str, payload: bytes, **_: Any) -> None:
        with self._lock:
            listeners = [hear for topic_filter, _, hear in self._listeners.values() if fits(topic_filter, topic)]
        for hear in listeners:
            hear(topic, payload)


def check(topic_filter: str) -> None:
    """Raises SubscribeRefused for what MQTT 3.1.1, 4.7, does not take as a topic filter."""
    if not re.fullmatch(r"(\+|[^+#\0]*)(/(\+|[^+#\0]*))*(/#)?|#", topic_filter):
        raise SubscribeRefused(f"{topic_filter!r} is no topic filter: + stands for a level, # for all that follow")


def fits(topic_filter: str, topic: str) -> bool:
    """Whether a topic is one that the filter stands for."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(want in ("+", have) for want, have in zip(wanted, levels, strict=True))
