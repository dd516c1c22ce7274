"""The open connections of an HTTP server: how many there are, how long each may take, and how much is read at once.

Every program on the machine can connect. So a connection has to send its request within a time, however slowly its
bytes come, and when there are too many, those whose requests have not been accepted yet have to go first.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass

AT_ONCE = 512
"""Connections; each has a thread."""
FIRST_REQUEST_SECONDS = 30.0
"""From the start of a connection until its first request has been accepted."""
REQUEST_SECONDS, BYTES_A_SECOND = 90.0, 1_000_000
"""From the answer to a request until the next one has come, and what more a body may take by its size."""
LARGEST_TOGETHER = 4 * 1024**3
"""Bytes of bodies that are read at the same time, in memory."""


@dataclass
class _Connection:
    deadline: float | None
    accepted: bool = False


class Connections:
    """All open connections. Safe to use from several threads."""

    def __init__(self) -> None:
        self._open: dict[socket.socket, _Connection] = {}
        self._lock = threading.Lock()
        self._reading = 0

    def remove(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.pop(connection, None)

    def add(self, connection: socket.socket) -> bool:
        """Whether one more may come; the oldest that has not been accepted has to go for it."""
        with self._lock:
            if len(self._open) >= AT_ONCE:
                oldest = next((each for each, about in self._open.items() if not about.accepted), None)
                if oldest is None:
                    return False
                del self._open[oldest]
                _shut(oldest)
            self._open[connection] = _Connection(deadline=time.monotonic() + FIRST_REQUEST_SECONDS)
            return True

    def accepted(self, connection: socket.socket, body: int) -> None:
        """The head of a request was accepted; its body, of at most so many bytes, may be read."""
        self._set(connection, REQUEST_SECONDS + body / BYTES_A_SECOND, accepted=True)

    def working(self, connection: socket.socket) -> None:
        """The request is there; its answer takes as long as it takes."""
        self._set(connection, None)

    def answered(self, connection: socket.socket) -> None:
        """The next request may come. To a client whose requests were never accepted, this gives no more time."""
        self._set(connection, REQUEST_SECONDS)

    def _set(self, connection: socket.socket, seconds: float | None, *, accepted: bool = False) -> None:
        with self._lock:
            about = self._open.get(connection)
            if about is None or not (about.accepted or accepted):
                return
            about.accepted = True
            about.deadline = None if seconds is None else time.monotonic() + seconds

    def reserve(self, size: int) -> bool:
        """Reserve memory for a body; False when too much is being read already. Pairs with `release`."""
        with self._lock:
            if self._reading and self._reading + size > LARGEST_TOGETHER:
                return False
            self._reading += size
            return True

    def release(self, size: int) -> None:
        with self._lock:
            self._reading -= size

    def close_late(self) -> None:
        """Close the connections whose time is over."""
        now = time.monotonic()
        with self._lock:
            for connection in [each for each, about in self._open.items() if about.deadline and about.deadline < now]:
                del self._open[connection]
                _shut(connection)

    def close(self) -> None:
        """Close all, so that their threads end."""
        with self._lock:
            for connection in self._open:
                _shut(connection)


def _shut(connection: socket.socket) -> None:
    """End a connection; its thread notices that, and closes it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
