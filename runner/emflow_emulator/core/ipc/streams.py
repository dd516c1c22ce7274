"""Operations that stay open: streams of events to components, and the subscriptions to them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from emflow_emulator.core.ipc.errors import Document

T = TypeVar("T")


class Stream:
    """One operation's stream of events. Events can be sent from any thread; they are sent after the response.

    Args:
        component: the subscribed component.
        send: takes an event's name in the service model, and its content.
    """

    def __init__(self, component: str, send: Callable[[str, Document], None]) -> None:
        self.component = component
        self._send = send
        self._lock = threading.Lock()
        self._open = False
        self._closed = False
        self._early: list[tuple[str, Document]] = []
        self._on_close: list[Callable[[], object]] = []

    def send(self, kind: str, event: Document) -> None:
        with self._lock:
            if self._open:
                self._send(kind, event)
            elif not self._closed:
                self._early.append((kind, event))

    def opened(self) -> None:
        """The response has been sent: send the waiting events."""
        with self._lock:
            self._open = not self._closed
            early, self._early = self._early, []
            for event in early if self._open else ():
                self._send(*event)

    def on_close(self, call: Callable[[], object]) -> None:
        """Call a function when the stream is closed; at once if it is closed already."""
        with self._lock:
            if not self._closed:
                self._on_close.append(call)
                return
        call()

    def close(self) -> None:
        with self._lock:
            self._open, self._closed = False, True
            calls, self._on_close = self._on_close, []
        for call in calls:
            call()


class Subscriptions(Generic[T]):
    """The open streams of one operation, each with its subject; a closed stream is removed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[Stream, T] = {}

    def add(self, stream: Stream, about: T) -> None:
        with self._lock:
            self._streams[stream] = about
        stream.on_close(lambda: self._remove(stream))

    def all(self) -> list[tuple[Stream, T]]:
        """All streams, the oldest first."""
        with self._lock:
            return list(self._streams.items())

    def of(self, component: str) -> list[Stream]:
        return [stream for stream, _ in self.all() if stream.component == component]

    def _remove(self, stream: Stream) -> None:
        with self._lock:
            self._streams.pop(stream, None)
