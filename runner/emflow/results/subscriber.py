"""Receives results over MQTT."""

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


class ResultSubscriber:
    """Receives the results on some topics; a context manager, and an iterator that ends with `close`.

    It reconnects by itself after a lost connection; messages that were published meanwhile are lost.

    Args:
        host: the broker's address. The connection has no TLS: this is for the embedded broker.
        port: its port.
        topics: topic filters. When several match one topic, a broker may send its messages once for each.
        username, password: of a user whom the broker lets in; None where it asks for none.

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

    def __enter__(self) -> ResultSubscriber:
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
            TimeoutError: no message came within `timeout` seconds, or the subscriber is closed.
        """
        try:
            payload = None if self._closed else self._arrived.get(timeout=timeout)
        except queue.Empty:
            payload = None
        if payload is None:
            raise TimeoutError(f"no message in {timeout:g} s")
        return read(payload)

    def close(self) -> None:
        """Disconnect, and end the iteration. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._arrived.put(None)
        disconnected: Future[Any] = self._connection.disconnect()
        # When the broker is gone, the SDK completes this only at its next attempt to reconnect, so do not wait for it.
        with contextlib.suppress(TimeoutError):
            disconnected.result(1.0)

    def _subscribe(self, topic: str, where: str) -> None:
        subscribed, _ = self._connection.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE, self._message)
        try:
            subscribed.result(_TIMEOUT)
        except Exception as error:  # the SDK has no common type for a refusal
            self.close()
            raise Problem(f"the broker refuses the topic {topic!r}: {error}", where=where) from error

    def _message(self, topic: str, payload: bytes, **_: object) -> None:  # noqa: ARG002 the SDK passes it by name
        self._arrived.put(payload)


def _resubscribe(connection: mqtt.Connection, session_present: bool, **_: object) -> None:
    """Subscribe again: in a clean session, the broker drops the subscriptions with the connection."""
    if not session_present:
        connection.resubscribe_existing_topics()
