"""A server on loopback through which other programs read a camera, so that they need no user and password for it.

FFmpeg and GStreamer send user and password to whatever a camera redirects them to, at any time, and to the proxies in
the environment. So they are given an address of this server, which holds none; the relay asks the camera itself.
Loopback keeps other machines away, but not other users of this one: the path of the address is known to this process
only.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import secrets
import socket
import threading
from typing import Callable
from urllib.parse import urlsplit

from emflow_edge.connections import Connections
from emflow_edge.rtsp.buffered_socket import BufferedSocket
from emflow_edge.rtsp.errors import CameraLost

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
# Seconds in which a client has to name the path.
FIRST_REQUEST = 10.0
# Connections at a time that have named the path, and others. A program has one, and opens the next before it closes one
# that failed; of the others there may be so many between its connection and its first request.
_MOST = 32
# Seconds after which a connection is awaited again, where the system had no room for one.
_AGAIN = 0.1


class Relay:
    """Listens on a free port of loopback until it is closed.

    Args:
        scheme: of the address.
        serve: serves one connection, in a thread of its own.

    Raises:
        CameraLost: there is no free port.
    """

    def __init__(self, scheme: str, serve: Callable[[BufferedSocket], None]) -> None:
        self.problem: CameraLost | None = None
        """Why the newest connection that named the path ended, or will, where the camera is the reason."""
        self.closed = threading.Event()
        self.path = f"/{secrets.token_urlsafe(24)}"
        self._serve = serve
        self._connections = Connections(_MOST)
        self._lock = threading.Lock()
        self._newest: BufferedSocket | None = None
        try:
            self._listener = socket.create_server((HOST, 0))
        except OSError as error:
            raise CameraLost(f"cannot be opened: no port on {HOST} ({error.strerror})") from error
        self.url = f"{scheme}://{HOST}:{self._listener.getsockname()[1]}{self.path}"
        self._thread = threading.Thread(target=self._listen, name="relay", daemon=True)
        self._thread.start()

    def accept(self, client: BufferedSocket, target: str) -> str | None:
        """What follows the path in the target of a client's first request; None where the path is another.

        Who does not know the path leaves no trace: only from now on the connection is the program's.
        """
        rest = self._behind(target)
        if rest is None or not self._connections.accept(client.connection):
            return None
        with self._lock:
            self._newest, self.problem = client, None
        return rest

    def report(self, client: BufferedSocket, problem: CameraLost) -> None:
        """Keep why a client gets no video; to be called before it is answered, which is when the reason is read."""
        with self._lock:
            if client is self._newest and not self.closed.is_set():
                self.problem = problem

    def _behind(self, target: str) -> str | None:
        try:
            parts = urlsplit(target)
        except ValueError:
            return None
        path = f"{parts.path}{f'?{parts.query}' if parts.query else ''}"
        given, rest = path[: len(self.path)], path[len(self.path) :]
        # In a time that does not depend on how much of it is right.
        if not hmac.compare_digest(given.encode(), self.path.encode()) or rest[:1] not in ("", "/", "?"):
            return None
        return rest

    def close(self) -> None:
        """End all connections."""
        self.closed.set()
        with contextlib.suppress(OSError):
            # Wakes `accept`.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        while not self.closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                # Closed, or there are too many files open in this process, which passes.
                self.closed.wait(_AGAIN)
                continue
            self._connections.add(client)
            threading.Thread(target=self._run, args=(client,), name="relay-connection", daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        client = BufferedSocket(connection, self.closed)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._serve(client)
        except CameraLost as lost:
            self.report(client, lost)
        except Exception as error:
            # An unexpected error of one connection must not end the others. Not its message, which may hold a password.
            log.debug("relay", exc_info=error)
            self.report(client, CameraLost(f"cannot be read (unexpected error: {type(error).__name__})"))
        finally:
            self._connections.remove(connection)
            connection.close()
