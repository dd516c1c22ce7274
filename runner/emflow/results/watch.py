"""Watching results arrive over MQTT."""

from __future__ import annotations

import contextlib
import queue
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from awscrt import mqtt
from awscrt.exceptions import AwsCrtError

from emflow.problems import Problem
from emflow.results.message import NotAResult, Result, read

_TIMEOUT = 10.0


class Watcher:
    """Results on some topics, as they come; a context manager, and an iterator that ends with `close`.

    A lost connection is taken up again by itself; what was published meanwhile is not caught up with.

    Args:
        host: the broker's address, without TLS: this is for the embedded broker.
        port: its port.
        topics: may have wildcards; where several stand for one topic, a broker may send its messages as often.
        username, password: whom the broker lets in; None where it asks nobody.

    Raises:
        Problem: no broker answers there, or it refuses the user or a topic.
    """

    def __init__(
        self, host: str, port: int, *topics: str, username: str | None = None, password: str | None = None
    ) -> None:
        self._arrived: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._closed = False
        self._connection = mqtt.Connection(
            mqtt.Client(),
            host_name=host,
            port=port,
            client_id=f"emflow-watch-{uuid.uuid4().hex[:12]}",
            username=username,
            password=password,
            clean_session=True,
            keep_alive_secs=30,
            reconnect_min_timeout_secs=1,
            reconnect_max_timeout_secs=5,
            on_connection_resumed=_resubscribe,
        )
        where = f"mqtt://{host}:{port}"
        try:
            self._connection.connect().result(_TIMEOUT)
        except (AwsCrtError, TimeoutError) as error:
            raise Problem(
                f"no MQTT broker answers: {error or 'nothing came back'}",
                where=where,
                mend="Check that it runs, its host and port, and the user name and password.",
            ) from error
        for topic in topics:
            self._subscribe(topic, where)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[Result | NotAResult]:
        return self

    def __next__(self) -> Result | NotAResult:
        payload = None if self._closed else self._arrived.get()
        if payload is None:
            raise StopIteration
        return read(payload)

    def next(self, timeout: float) -> Result | NotAResult:
        """The next message.

        Raises:
            TimeoutError: nothing came in `timeout` seconds, or this watcher is closed.
        """
        try:
            payload = None if self._closed else self._arrived.get(timeout=timeout)
        except queue.Empty:
            payload = None
        if payload is None:
            raise TimeoutError(f"no message in {timeout:g} s")
        return read(payload)

    def close(self) -> None:
        """Leave the broker and wake whoever waits. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._arrived.put(None)
        disconnected: Future[Any] = self._connection.disconnect()
        # Where the broker has gone, the SDK says so only after its next try to reconnect: not worth waiting for.
        with contextlib.suppress(TimeoutError):
            disconnected.result(1.0)

    def _subscribe(self, topic: str, where: str) -> None:
        subscribed, _ = self._connection.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE, self._message)
        try:
            subscribed.result(_TIMEOUT)
        except Exception as error:  # the SDK has no common type for a refusal
            self.close()
            raise Problem(f"the broker refuses the topic {topic!r}: {error}", where=where) from error

    def _message(self, topic: str, payload: bytes, **_: object) -> None:  # noqa: ARG002 the SDK names it
        self._arrived.put(payload)


def _resubscribe(connection: mqtt.Connection, session_present: bool, **_: object) -> None:
    """A clean session forgets its subscriptions with the connection."""
    if not session_present:
        connection.resubscribe_existing_topics()
