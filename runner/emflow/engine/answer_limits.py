"""Limits for every answer of AWS: a size and a deadline, whatever an endpoint or a proxy sends.

botocore's read timeout is for each read of a socket: a byte now and then lasts for ever. It reads an answer of any size
into memory. So connections count what they read, from the first byte of the headers, and end at either limit. Such an
answer is not retried: the next one would take as long.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool
from botocore.exceptions import BotoCoreError, HTTPClientError

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer that is parsed, with its headers. The largest pages of lists have some megabytes."""

MAX_OBJECT = 512 * 1024 * 1024
"""Bytes of an object in S3: the largest that emflow reads are captured tensors."""

ANSWER_SECONDS = 120.0
"""From the end of the request to the end of an answer that is parsed."""

OBJECT_SECONDS = 900.0
"""The same for an object in S3."""


class AnswerRefused(BotoCoreError):
    """An answer exceeds a limit; `limit` says which."""

    fmt = "the answer {limit}"


class _Limits(threading.local):
    """The limits for what this thread has asked for."""

    size = MAX_ANSWER
    seconds = ANSWER_SECONDS


_limits = _Limits()


def limit_answers(client: Any) -> None:
    """Have the connections of a boto3 client end at the limits. The client has to be new, without connections."""
    # botocore has no public way to its connections.
    session = client._endpoint.http_session
    session._pool_classes_by_scheme = _POOLS
    session._manager.pool_classes_by_scheme = _POOLS
    client._endpoint.http_session = _Session(session)


class _Session:
    """botocore's session, which says what kind of answer is expected, and raises `AnswerRefused` as itself."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def send(self, request: Any) -> Any:
        _limits.size, _limits.seconds = (
            (MAX_OBJECT, OBJECT_SECONDS) if request.stream_output else (MAX_ANSWER, ANSWER_SECONDS)
        )
        try:
            return self._session.send(request)
        except HTTPClientError as error:  # botocore retries what it has wrapped
            cause = error.kwargs.get("error")
            if isinstance(cause, AnswerRefused):
                raise cause from None
            raise

    def close(self) -> None:
        self._session.close()


class _LimitedConnection:
    """For a connection class: limits what is read from the socket for one answer."""

    sock: Any

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        with self._limited():
            return super().getresponse(*args, **kwargs)  # type: ignore[misc]

    def _handle_expect_response(self, *args: Any, **kwargs: Any) -> Any:
        with self._limited():
            return super()._handle_expect_response(*args, **kwargs)  # type: ignore[misc]

    @contextmanager
    def _limited(self) -> Iterator[None]:
        sock = self.sock
        self.sock = _LimitedSocket(sock, _limits.size, time.monotonic() + _limits.seconds, _limits.seconds)
        try:
            yield
        finally:
            if self.sock is not None:  # it was not closed
                self.sock = sock


class _LimitedSocket:
    """A socket whose files end at the limits."""

    def __init__(self, sock: Any, size: int, deadline: float, seconds: float) -> None:
        self._sock = sock
        self._made = (size, deadline, seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def makefile(self, mode: str = "r", buffering: int | None = None, **_: Any) -> Any:
        if mode != "rb":
            raise ValueError(f"answers are read as bytes, and not with mode {mode!r}")
        reader = _LimitedReader(self._sock, *self._made)
        return reader if buffering == 0 else io.BufferedReader(reader)


class _LimitedReader(io.RawIOBase):
    """Reads from a socket until one of the limits."""

    def __init__(self, sock: Any, size: int, deadline: float, seconds: float) -> None:
        super().__init__()
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open until it is closed itself
        self._sock = sock
        self._size = self._left = size
        self._deadline = deadline
        self._seconds = seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        timeout = self._sock.gettimeout()
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise self._too_slow()
        self._sock.settimeout(remaining if timeout is None else min(timeout, remaining))
        try:
            count: int | None = self._file.readinto(buffer)
        except TimeoutError:
            if time.monotonic() >= self._deadline:
                raise self._too_slow() from None
            raise
        finally:
            if self._sock.fileno() >= 0:
                self._sock.settimeout(timeout)
        self._left -= count or 0
        if self._left < 0:
            raise AnswerRefused(limit=f"has more than {self._size // 2**20} MiB")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()

    def _too_slow(self) -> AnswerRefused:
        return AnswerRefused(limit=f"has not come completely within {self._seconds:g} s")


class _HttpConnection(_LimitedConnection, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _HttpsConnection(_LimitedConnection, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _HttpPool(AWSHTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(AWSHTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS = {"http": _HttpPool, "https": _HttpsPool}
