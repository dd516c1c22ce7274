"""A TCP or TLS connection to a camera: fast connect, large reads, and a deadline for every operation."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import threading
import time
from typing import Callable, TypeVar

from emflow_edge.rtsp.errors import CameraLost, CameraRefused

R = TypeVar("R")

# A host that is off answers nothing. A new try every so often finds it soon after it is back, however long a single one
# waits; the kernel alone repeats a try after 1, 3 and 7 seconds.
_KNOCK = 0.4
# How soon a thread that waits notices that it has to end.
_LOOK = 0.25
_PIECE = 1 << 18


def connect(host: str, port: int, timeout: float, stop: threading.Event) -> socket.socket:
    """A connection that does not block. Several tries are under way at a time; the first to be accepted wins.

    Raises:
        CameraLost: nothing answers, or `stop` was set.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CameraLost(f"cannot be reached ({error.strerror or 'no answer'})") from error
    except ValueError as error:
        # Not even asked for: UnicodeError where the name cannot be encoded, ValueError where it holds a NUL.
        raise CameraLost("cannot be reached (invalid host name)") from error
    pending: dict[int, socket.socket] = {}
    poll = select.poll()
    deadline, knock, reason = time.monotonic() + timeout, 0.0, "no answer"
    try:
        while not stop.is_set():
            now = time.monotonic()
            if now >= deadline:
                break
            if now >= knock:
                knock = now + _KNOCK
                for family, kind, protocol, _, address in found:
                    one = socket.socket(family, kind, protocol)
                    one.setblocking(False)
                    pending[one.fileno()] = one
                    code = one.connect_ex(address)
                    if code not in (0, errno.EINPROGRESS):
                        reason = os.strerror(code)
                        del pending[one.fileno()]
                        one.close()
                        continue
                    poll.register(one, select.POLLOUT)
            for number, _ in poll.poll(max(0.0, min(knock, deadline) - now) * 1000 + 1):
                one = pending.pop(number)
                poll.unregister(number)
                code = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return one
                reason = os.strerror(code)
                one.close()
            if not pending:
                # All were refused at once: whoever waits between tries does so better than this loop.
                break
    finally:
        for one in pending.values():
            one.close()
    raise CameraLost(f"cannot be reached ({reason})")


def tls_context(ca: str) -> ssl.SSLContext:
    """Certificates that a camera's own has to come from: those in a file, or the system's.

    Raises:
        CameraRefused: the file holds none.
    """
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise CameraRefused(f"cannot be verified: the file in ca holds no certificates ({ca})") from error


class BufferedSocket:
    """A connection and what came over it but is not read yet.

    Args:
        connected: does not block.
        stop: ends all waiting.
    """

    def __init__(self, connected: socket.socket, stop: threading.Event) -> None:
        self.buffer = bytearray()
        self._socket, self._stop = connected, stop

    @classmethod
    def connected(
        cls, host: str, port: int, timeout: float, stop: threading.Event, context: ssl.SSLContext | None = None
    ) -> BufferedSocket:
        """A connection to a camera.

        Args:
            host, port: of the camera.
            timeout: seconds to connect in, TLS included.
            stop: ends all waiting.
            context: for TLS; None is plain TCP.

        Raises:
            CameraLost: nothing answers.
            CameraRefused: its certificate is not to be trusted.
        """
        deadline = time.monotonic() + timeout
        wire = cls(connect(host, port, timeout, stop), stop)
        if context is not None:
            wire._start_tls(context, host, deadline)
        return wire

    @property
    def connection(self) -> socket.socket:
        """What it reads from and writes to."""
        return self._socket

    def _start_tls(self, context: ssl.SSLContext, host: str, deadline: float) -> None:
        try:
            secure = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
            self._socket = secure
            self._patiently(secure.do_handshake, select.POLLIN, deadline)
        except BaseException as error:
            self._socket.close()
            if isinstance(error, TimeoutError):
                raise CameraLost("answers, but not with TLS") from error
            raise

    @property
    def peer(self) -> str:
        """The camera's IP address."""
        return str(self._socket.getpeername()[0])

    @property
    def here(self) -> str:
        """This device's IP address, as the camera sees it."""
        return str(self._socket.getsockname()[0])

    @property
    def family(self) -> int:
        return int(self._socket.family)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes | bytearray, deadline: float) -> None:
        """Send all of it.

        Raises:
            CameraLost: it could not be sent in time.
        """
        left = [memoryview(data)]
        while left[0]:
            left[0] = left[0][self._patiently(lambda: self._socket.send(left[0]), select.POLLOUT, deadline) :]

    def fill(self, deadline: float) -> None:
        """Wait for more, and add all that is there to `buffer`.

        Raises:
            TimeoutError: nothing came until the deadline, or it is over, also when more is there: who awaits something
                else would wait for as long as the camera goes on talking.
            CameraLost: the camera closed the connection, or `stop` was set.
        """
        if time.monotonic() >= deadline:
            raise TimeoutError
        self._receive(deadline)

    def fill_without_waiting(self) -> None:
        """Add what is there to `buffer`.

        Raises:
            CameraLost: the camera closed the connection, or `stop` was set.
        """
        with contextlib.suppress(TimeoutError):
            self._receive(0.0)

    def _receive(self, deadline: float) -> None:
        data = self._patiently(lambda: self._socket.recv(_PIECE), select.POLLIN, deadline)
        if not data:
            raise CameraLost("closed the connection")
        self.buffer += data

    def close(self) -> None:
        self._socket.close()

    def _patiently(self, action: Callable[[], R], event: int, deadline: float) -> R:
        """Do what does not block until it is done; `event` is what plain TCP waits for meanwhile."""
        while True:
            try:
                return action()
            except BlockingIOError:
                awaited = event
            except ssl.SSLWantReadError:
                awaited = select.POLLIN
            except ssl.SSLWantWriteError:
                awaited = select.POLLOUT
            except ssl.SSLCertVerificationError as error:
                raise CameraRefused(f"has a certificate that is not trusted ({error.verify_message})") from error
            except ssl.SSLError as error:
                raise CameraLost(f"does not speak TLS ({error.reason or 'no reason given'})") from error
            except OSError as error:
                raise CameraLost(f"closed the connection ({error.strerror or 'no reason given'})") from error
            self._wait(awaited, deadline)

    def _wait(self, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        while not self._stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if poll.poll(min(left, _LOOK) * 1000 + 1):
                return
        raise CameraLost("is no longer needed")
