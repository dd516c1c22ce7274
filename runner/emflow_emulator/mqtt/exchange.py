"""The exchange of messages: sessions with their subscriptions, messages that wait in them, and retained messages.

It has no network: `Outgoing` is the client's end. Everything that may grow has a limit, because each program on the
machine that knows the password can publish. As AWS IoT Core, it has QoS 0 and 1: a message goes to a subscriber with
the lower one of what it was published with and what was subscribed
(https://docs.aws.amazon.com/iot/latest/developerguide/mqtt.html).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from emflow_emulator.mqtt.packets import Connect, Message, publish
from emflow_emulator.mqtt.topic_filters import fits, is_valid

log = logging.getLogger(__name__)

MOST_SUBSCRIPTIONS = 50
"""Of one client; AWS IoT Core's limit."""
MOST_IN_FLIGHT, LARGEST_IN_FLIGHT = 100, 1024 * 1024
"""Messages, and their bytes, that a client has not acknowledged yet; the rest waits."""
MOST_WAITING = 1000
"""Messages that wait for one client."""
LARGEST_WAITING = 64 * 1024 * 1024
"""Bytes of the messages that wait for all clients together."""
MOST_RETAINED, LARGEST_RETAINED = 5000, 64 * 1024 * 1024
"""Retained messages, and their bytes."""
MOST_SESSIONS = 1000
"""Persistent sessions of clients that are away; then the one that has been away longest ends."""
SESSION_SECONDS = 3600.0
"""How long a persistent session waits for its client; AWS IoT Core's default."""

_REFUSED = 0x80


class Outgoing(Protocol):
    """A connected client, as seen from its session. Both members are called in the thread of the broker."""

    def send(self, data: bytes) -> None:
        """Write without waiting."""

    @property
    def is_full(self) -> bool:
        """Whether the client reads slower than it is written to."""


@dataclass(eq=False)
class Session:
    """What is kept of a client; beyond its connection where `clean` is False."""

    client_id: str
    clean: bool
    out: Outgoing | None = None
    will: Message | None = None
    filters: dict[str, int] = field(default_factory=dict)
    waiting: deque[Message] = field(default_factory=deque)
    in_flight: dict[int, Message] = field(default_factory=dict)
    in_flight_size: int = 0
    last_id: int = 0
    left: float = 0.0
    dropped: int = 0


@dataclass(frozen=True)
class Retained:
    """A retained message, and when it was published (Unix time)."""

    message: Message
    modified: float


class RetainedMessages:
    """The newest retained message of each topic. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[str, Retained] = {}
        self._size = 0

    def keep(self, message: Message) -> None:
        """Keep a message in place of the one before; an empty one removes it."""
        with self._lock:
            before = self._all.pop(message.topic, None)
            self._size -= before.message.size if before else 0
            if not message.payload:
                return
            if len(self._all) >= MOST_RETAINED or self._size + message.size > LARGEST_RETAINED:
                log.warning("too many messages are retained: the one of %r is not", message.topic)
                return
            self._size += message.size
            self._all[message.topic] = Retained(message, time.time())

    def get(self, topic: str) -> Retained | None:
        with self._lock:
            return self._all.get(topic)

    def all(self) -> list[Retained]:
        with self._lock:
            return list(self._all.values())


class Exchange:
    """Takes messages from clients and passes them on. `retained` may be read from any thread, the rest from one."""

    def __init__(self) -> None:
        self.retained = RetainedMessages()
        self._sessions: dict[str, Session] = {}
        self._waiting = 0

    def open(self, connect: Connect, out: Outgoing) -> tuple[Session, bool]:
        """The session of a client that connects, and whether it had one already.

        Nothing is sent yet: see `resume`. An earlier connection of the same client has to be closed before.
        """
        self._expire()
        session = self._sessions.get(connect.client_id)
        present = session is not None and not connect.clean
        if session is None or not present:
            self._end(session)
            session = self._sessions[connect.client_id] = Session(connect.client_id, connect.clean)
        session.out, session.will = out, connect.will
        return session, present

    def connected(self, client_id: str) -> Outgoing | None:
        """The connection that a client has now."""
        session = self._sessions.get(client_id)
        return session.out if session else None

    def resume(self, session: Session) -> None:
        """Send what the client has not acknowledged, and then what waits for it."""
        for identity, message in session.in_flight.items():
            self._send(session, publish(message, identity, again=True))
        self._pump(session)

    def close(self, session: Session, *, lost: bool) -> None:
        """The client has disconnected; when its connection was lost, its will is published."""
        session.out, session.left = None, time.monotonic()
        will, session.will = session.will, None
        if session.clean:
            self._end(session)
        if lost and will:
            self.publish(will)

    def subscribe(self, session: Session, filters: Iterable[tuple[str, int]]) -> bytes:
        """Subscribe; returns the return code of each topic filter."""
        codes = bytearray()
        for topic_filter, qos in filters:
            new = topic_filter not in session.filters
            if not is_valid(topic_filter) or (new and len(session.filters) >= MOST_SUBSCRIPTIONS):
                codes.append(_REFUSED)
                continue
            session.filters[topic_filter] = min(qos, 1)
            codes.append(min(qos, 1))
        return bytes(codes)

    def send_retained(self, session: Session, filters: Iterable[tuple[str, int]]) -> None:
        """Send the retained messages of filters that were just subscribed, each once; of a refused filter, none."""
        granted = {each: session.filters[each] for each, _ in filters if each in session.filters}
        for kept in self.retained.all() if granted else ():
            fitting = [qos for topic_filter, qos in granted.items() if fits(topic_filter, kept.message.topic)]
            if fitting:
                self._deliver(session, replace(kept.message, qos=min(kept.message.qos, max(fitting))))

    def unsubscribe(self, session: Session, filters: Iterable[str]) -> None:
        for topic_filter in filters:
            session.filters.pop(topic_filter, None)

    def publish(self, message: Message) -> None:
        """Pass a message on to all who subscribed to its topic, once to each.

        Also to a client with several filters that match: with the highest QoS of those (MQTT 3.1.1, section 3.3.5,
        which lets a broker send a copy for each filter, too).
        """
        if message.retain:
            self.retained.keep(message)
        for session in list(self._sessions.values()):
            granted = [qos for topic_filter, qos in session.filters.items() if fits(topic_filter, message.topic)]
            if granted:
                self._deliver(session, replace(message, qos=min(message.qos, max(granted)), retain=False))

    def acknowledged(self, session: Session, identity: int) -> None:
        message = session.in_flight.pop(identity, None)
        if message:
            session.in_flight_size -= message.size
            self._waiting -= message.size
            self._pump(session)

    def _deliver(self, session: Session, message: Message) -> None:
        if message.qos == 0:
            if session.out and not session.out.is_full:
                session.out.send(publish(message))
            return
        if len(session.waiting) >= MOST_WAITING or self._waiting + message.size > LARGEST_WAITING:
            if not session.dropped:
                log.warning("%r does not take its messages; new ones are dropped", session.client_id)
            session.dropped += 1
            return
        session.dropped = 0
        session.waiting.append(message)
        self._waiting += message.size
        self._pump(session)

    def _pump(self, session: Session) -> None:
        """Send messages that wait, as many as may be in flight."""
        while session.out and session.waiting and self._may_send(session):
            message = session.waiting.popleft()
            identity = session.last_id = next(
                each for each in _ids_after(session.last_id) if each not in session.in_flight
            )
            session.in_flight[identity] = message
            session.in_flight_size += message.size
            session.out.send(publish(message, identity))

    def _may_send(self, session: Session) -> bool:
        size = session.in_flight_size + session.waiting[0].size
        few = len(session.in_flight) < MOST_IN_FLIGHT
        return few and (size <= LARGEST_IN_FLIGHT or not session.in_flight)

    def _send(self, session: Session, data: bytes) -> None:
        if session.out:
            session.out.send(data)

    def _expire(self) -> None:
        """End persistent sessions whose clients have been away too long, or that are too many."""
        away = sorted((each for each in self._sessions.values() if not each.out), key=lambda each: each.left)
        old = time.monotonic() - SESSION_SECONDS
        for number, session in enumerate(away):
            if session.left < old or number < len(away) - MOST_SESSIONS:
                self._end(session)

    def _end(self, session: Session | None) -> None:
        if session and self._sessions.get(session.client_id) is session:
            del self._sessions[session.client_id]
            self._waiting -= sum(each.size for each in (*session.waiting, *session.in_flight.values()))


def _ids_after(last: int) -> Iterable[int]:
    """The ids of packets, 1 to 65535, from the one after `last` on."""
    return (each % 65535 + 1 for each in range(last, last + 65535))
