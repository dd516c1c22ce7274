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

from emflow_edge.rtsp.buffered_socket import BufferedSocket
from emflow_edge.rtsp.errors import CameraLost

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
# Seconds in which a client has to name the path.
FIRST_REQUEST = 10.0
# Connections at a time: a program has one, and opens the next before it closes one that failed.
_MOST = 8


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
        """Why the newest connection ended, where the camera is the reason."""
        self.closed = threading.Event()
        self.path = f"/{secrets.token_urlsafe(24)}"
        self._serve = serve
        self._places = threading.BoundedSemaphore(_MOST)
        try:
            self._listener = socket.create_server((HOST, 0))
        except OSError as error:
            raise CameraLost(f"cannot be opened: no port on {HOST} ({error.strerror})") from error
        self.url = f"{scheme}://{HOST}:{self._listener.getsockname()[1]}{self.path}"
        self._thread = threading.Thread(target=self._accept, name="relay", daemon=True)
        self._thread.start()

    def behind(self, target: str) -> str | None:
        """What follows the path in the target of a request; None where the path is another."""
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

    def _accept(self) -> None:
        while not self.closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._places.acquire(blocking=False):
                client.close()
                continue
            threading.Thread(target=self._run, args=(client,), name="relay-connection", daemon=True).start()

    def _run(self, client: socket.socket) -> None:
        self.problem = None
        try:
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._serve(BufferedSocket(client, self.closed))
        except CameraLost as lost:
            if not self.closed.is_set():
                self.problem = lost
        except Exception as error:
            # An unexpected error of one connection must not end the others. Not its message, which may hold a password.
            log.debug("relay", exc_info=error)
            self.problem = CameraLost(f"cannot be read (unexpected error: {type(error).__name__})")
        finally:
            self._places.release()
            client.close()
