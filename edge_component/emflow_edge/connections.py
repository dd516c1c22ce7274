"""The open connections of a server on loopback: how many there are, and which has to go when there are too many.

Every program on the device can connect. A limit that refuses the next connection would let those who send nothing keep
away the one for whom the server is there; so the oldest has to go, of those whose request has not been accepted yet.
"""

from __future__ import annotations

import contextlib
import socket
import threading


class Connections:
    """Safe to use from several threads.

    Args:
        most: connections at a time, of those whose request was accepted and of the others each.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        # In the order in which they came.
        self._waiting: dict[socket.socket, None] = {}
        self._accepted: dict[socket.socket, None] = {}

    def add(self, connection: socket.socket) -> None:
        """One more came. Where it is one too many, the oldest without an accepted request is ended."""
        with self._lock:
            self._put(self._waiting, connection)

    def accept(self, connection: socket.socket) -> bool:
        """Its request is accepted; False where it had to go meanwhile. One too many ends the oldest accepted one."""
        with self._lock:
            if connection not in self._waiting:
                return False
            del self._waiting[connection]
            self._put(self._accepted, connection)
            return True

    def remove(self, connection: socket.socket) -> None:
        """Forget one that ends; to be called before it is closed."""
        with self._lock:
            self._waiting.pop(connection, None)
            self._accepted.pop(connection, None)

    def _put(self, among: dict[socket.socket, None], connection: socket.socket) -> None:
        among[connection] = None
        if len(among) > self._most:
            oldest = next(iter(among))
            del among[oldest]
            with contextlib.suppress(OSError):
                # Its thread notices that, and closes it.
                oldest.shutdown(socket.SHUT_RDWR)
