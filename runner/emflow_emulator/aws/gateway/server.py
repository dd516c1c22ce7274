"""The embedded AWS as an HTTP server on loopback, with one thread for each connection."""

from __future__ import annotations

import errno
import io
import ipaddress
import logging
import socket
import threading
from collections.abc import Iterator
from email.message import Message
from http.client import HTTPException
from typing import IO, Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.test import run_wsgi_app

from emflow.problems import Problem
from emflow_emulator.access import AccessKey
from emflow_emulator.aws import moto_backend
from emflow_emulator.aws.account_region import ACCOUNT, REGION, AccountRegion
from emflow_emulator.aws.gateway.region import Region
from emflow_emulator.aws.gateway.routing import HEADERS, Regions, Router, phrase
from emflow_emulator.aws.internal_clients import InternalClients
from emflow_emulator.aws.iot_data import IotData
from emflow_emulator.aws.protocol import Answer
from emflow_emulator.broker import Broker
from emflow_emulator.connections import Connections

log = logging.getLogger(__name__)

_STRANGER, _PATIENCE = 10.0, 60.0
"""Seconds in which something has to come from a client, or to be taken by it: before it was let in once, and then."""
_PIECE = 1024 * 1024
_LARGEST_HEAD = 64 * 1024
"""Bytes of a request before its body; S3 takes 8 KiB of headers."""
_SKIPPED = 4 * 1024 * 1024
"""Bytes of a body that are read over behind a head that was not let in, so that the client looks at the answer."""

_running = 0
_running_lock = threading.Lock()


class EmbeddedAws:
    """An embedded AWS on loopback, in this process. Also a context manager.

    Args:
        port: the port to listen on; 0 picks a free one.
        host: the address to listen on, of this machine only.
        job_seconds: minimum duration of a compilation or packaging job.
        credentials: the accepted access key; None makes a new one. Keys that its IAM and STS issue are accepted too,
            and no others.
        broker: what IoT's data endpoint publishes to, and whose retained messages it reads; started by the caller.
    """

    region = REGION
    account = ACCOUNT

    def __init__(
        self,
        port: int = 4566,
        host: str = "127.0.0.1",
        job_seconds: float = 1.0,
        credentials: AccessKey | None = None,
        broker: Broker | None = None,
    ) -> None:
        self.host = host
        self.credentials = credentials or AccessKey.new()
        self._asked = port
        self._job_seconds = job_seconds
        self._broker = broker
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._regions = Regions(self._make_region)

    @property
    def port(self) -> int:
        """The port that it listens on; valid after `start`."""
        return self._server.port if self._server else self._asked

    @property
    def endpoint_url(self) -> str:
        """The value for AWS_ENDPOINT_URL."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> EmbeddedAws:
        """Start to listen and to answer. The first server of a process starts with empty services.

        Raises:
            Problem: the port is taken, or may not be used, or the address is open to other machines.
        """
        global _running
        if not ipaddress.ip_address(self.host).is_loopback:
            raise Problem(f"the embedded AWS has no TLS, so it does not listen on {self.host}")
        listener = _listen(self.host, self._asked)
        with _running_lock:
            if not _running:
                moto_backend.reset()
            _running += 1
        self._regions = Regions(self._make_region)
        self._server = make_server(
            self.host,
            listener.getsockname()[1],
            Router(self._regions, self.credentials, IotData(self._broker)),
            threaded=True,
            request_handler=_Connection,
            fd=listener.fileno(),
        )
        listener.close()
        connections = Connections()
        self._server.connections = connections  # type: ignore[attr-defined]
        self._server.verify_request = lambda request, _: connections.add(request)  # type: ignore[method-assign, assignment, arg-type]
        self._server.service_actions = connections.close_late  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="embedded-aws")
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening, stop the jobs, close the open connections."""
        global _running
        if self._server is None or self._thread is None:
            return
        self._regions.stop()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.connections.close()  # type: ignore[attr-defined]
        self._server = None
        with _running_lock:
            _running -= 1

    def __enter__(self) -> EmbeddedAws:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_region(self, account_region: AccountRegion) -> Region:
        return Region(
            account_region, InternalClients(self.endpoint_url, account_region, self.credentials), self._job_seconds
        )


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. It is not made by werkzeug, which ends the process when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Problem(
                f"port {port} on {host} is taken, so the embedded AWS cannot listen there",
                mend="Stop what uses it, or choose another with --port (0 picks a free one).",
            ) from error
        raise Problem(
            f"the embedded AWS cannot listen on {host}:{port}: {error.strerror}",
            mend="Choose another port with --port (0 picks a free one).",
        ) from error
    return listener


class _Connection(MotoRequestHandler):
    """One client's connection, kept alive from request to request.

    werkzeug's own handler closes it after each response, as it cannot know what the application left unread. Here
    the body is read before the application runs, if the head says that it may come in; so the next request starts
    where it should. A new connection for every call would double the time of the small ones.
    """

    protocol_version = "HTTP/1.1"
    timeout = _STRANGER
    # Head and body are separate writes to some clients: with Nagle's algorithm each would wait for an ACK.
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._connections: Connections = self.server.connections  # type: ignore[attr-defined]

    def finish(self) -> None:
        self._connections.remove(self.connection)
        super().finish()

    def parse_request(self) -> bool:
        stream, self.rfile = self.rfile, _Head(self.rfile)  # type: ignore[assignment, arg-type]
        try:
            return super().parse_request()
        finally:
            self.rfile = stream

    def handle_expect_100(self) -> bool:
        """Ask for a body only after its head was let in."""
        return True

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        environ[HEADERS] = self.headers
        router: Router = self.server.app  # type: ignore[assignment]
        limit = router.largest_body(environ)
        waits = self.headers.get("Expect", "").strip().lower() == "100-continue"
        reserved = 0
        try:
            body = _Body(self.headers, environ["wsgi.input"])
            if isinstance(limit, Answer):
                self._refuse(limit, None if waits else body)
                return
            if limit:  # the one request that needs no signature has no body
                self.connection.settimeout(_PATIENCE)
                self._connections.accepted(self.connection, size := body.most(limit))
                if not self._connections.reserve(size):
                    raise _BadBody(503, "too many large bodies are being read; try again")
                reserved = size
            if waits and body.length != 0:
                self.send_response_only(100)
                self.end_headers()
            data = body.read(limit)
            self._connections.working(self.connection)
            self._answer(environ, data)
        except _BadBody as bad:
            # Where the next request begins nobody knows, so this one is the last.
            text = {"Content-Type": "text/plain; charset=utf-8"}
            self._refuse(Answer(bad.status, text, f"{bad}\n".encode()), None)
        finally:
            self._connections.release(reserved)
            self._connections.answered(self.connection)

    def _answer(self, environ: dict[str, Any], data: bytes) -> None:
        """Run the application with the body, and send what it answers."""
        environ["wsgi.input"] = io.BytesIO(data)
        environ["CONTENT_LENGTH"] = str(len(data))
        chunks, status, headers = run_wsgi_app(self.server.app, environ, buffered=True)
        ours = {"date", "server", "connection", "transfer-encoding"}
        if status.startswith("204"):
            ours.add("content-length")
        kept = [(name, value) for name, value in headers if name.lower() not in ours]
        self._send(status, kept, b"".join(chunks))

    def _refuse(self, answer: Answer, body: _Body | None) -> None:
        """Answer without looking at the body; what is left unread of it ends the connection."""
        headers = list(answer.headers.items())
        if body is None or not body.skip(_SKIPPED):
            self.close_connection = True
            headers.append(("Connection", "close"))
        self._send(f"{answer.status} {phrase(answer.status)}", headers, answer.body)

    def _send(self, status: str, headers: list[tuple[str, str]], data: bytes) -> None:
        code, _, phrase = status.partition(" ")
        self.send_response(int(code), phrase)
        for name, value in headers:
            self.send_header(name, value)
        # RFC 9110, section 6.4.1. The client could take a body for the answer to its next request.
        bodiless = int(code) in (204, 304)
        if "content-length" not in {name.lower() for name, _ in headers} and not bodiless:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and not bodiless:
            # In pieces, each of which has the time limit for itself.
            for start in range(0, len(data), _PIECE):
                self.wfile.write(memoryview(data)[start : start + _PIECE])

    def log_request(self, code: Any = "-", size: Any = "-") -> None:  # noqa: ARG002
        log.debug("%s %s", self.requestline, code)

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002
        # A client that keeps a connection for later, and then has no use for it, is nothing to tell anybody.
        log.log(logging.DEBUG if format.startswith("Request timed out") else logging.WARNING, format, *args)


class _Head:
    """Reads the head of a request, line by line. Raises HTTPException when it is too long."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = _LARGEST_HEAD

    def readline(self, size: int = -1) -> bytes:
        line = self._stream.readline(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise HTTPException(f"over {_LARGEST_HEAD} bytes")  # which is answered with 431
        return line


class _BadBody(Exception):
    """A body that is not read to its end; the text says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Body:
    """What follows a head. `length` is None where that is not known before its end.

    Args:
        stream: takes the body out of its pieces where it comes in pieces ("chunked").

    Raises:
        _BadBody: the head does not say how long it is, or says it twice.
    """

    def __init__(self, headers: Message, stream: IO[bytes]) -> None:
        lengths, codings = headers.get_all("Content-Length") or [], headers.get_all("Transfer-Encoding") or []
        self._stream = stream
        self.length: int | None = None
        if codings:
            if lengths or [coding.strip().lower() for coding in codings] != ["chunked"]:
                raise _BadBody(400, "Transfer-Encoding has to be 'chunked', without Content-Length")
            return
        length = lengths[0].strip() if lengths else "0"
        if len(lengths) > 1 or not (length.isascii() and length.isdigit() and len(length) < 20):
            raise _BadBody(400, f"Content-Length {', '.join(lengths)[:100]!r} is no number of bytes")
        self.length = int(length)

    def read(self, limit: int) -> bytes:
        """All of it.

        Raises:
            _BadBody: it has more than `limit` bytes, or the client left before its end.
        """
        if self.length is not None and self.length > limit:
            raise _BadBody(413, f"the body has {self.length} bytes; {limit} are taken for this request")
        data = b"".join(self._pieces(limit + 1))
        if len(data) > limit:
            raise _BadBody(413, f"the body has more than the {limit} bytes that are taken for this request")
        if self.length is not None and len(data) < self.length:
            raise _BadBody(400, f"the body ends after {len(data)} of {self.length} bytes")
        return data

    def most(self, limit: int) -> int:
        """How many bytes it has, at most."""
        return limit if self.length is None else min(self.length, limit)

    def skip(self, limit: int) -> bool:
        """Read over it; False when it goes on after `limit` bytes."""
        if self.length is not None and self.length > limit:
            return False
        try:
            return sum(map(len, self._pieces(limit + 1))) <= limit
        except _BadBody:
            return False

    def _pieces(self, most: int) -> Iterator[bytes]:
        left = most if self.length is None else min(most, self.length)
        while left > 0:
            try:
                piece = self._stream.read(min(left, _PIECE))
            except TimeoutError:
                raise _BadBody(408, "nothing more of the body came") from None
            except OSError as error:
                raise _BadBody(400, f"the body's pieces make no sense: {error}") from error
            if not piece:
                return
            left -= len(piece)
            yield piece
