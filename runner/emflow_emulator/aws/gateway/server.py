"""The embedded AWS as a server: a socket on loopback, a thread a connection, start and stop."""

from __future__ import annotations

import errno
import io
import ipaddress
import logging
import socket
import threading
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.test import run_wsgi_app

from emflow.problems import Problem
from emflow_emulator.access import AccessKey
from emflow_emulator.aws import moto_backend
from emflow_emulator.aws.account_region import ACCOUNT, REGION, AccountRegion
from emflow_emulator.aws.gateway.region import Region
from emflow_emulator.aws.gateway.routing import HEADERS, Regions, Router
from emflow_emulator.aws.internal_clients import InternalClients

log = logging.getLogger(__name__)

_running = 0
_running_lock = threading.Lock()


class EmbeddedAws:
    """AWS on loopback, in this process. Also a context manager.

    Args:
        port: where to listen; 0 picks a free one.
        host: the address to listen on, of this machine only.
        job_seconds: how long a compilation or packaging job takes at least.
        credentials: the access key that it lets in; a new one when not given. What its IAM and STS give out is let in,
            too, and nothing else.
    """

    region = REGION
    account = ACCOUNT

    def __init__(
        self,
        port: int = 4566,
        host: str = "127.0.0.1",
        job_seconds: float = 1.0,
        credentials: AccessKey | None = None,
    ) -> None:
        self.host = host
        self.credentials = credentials or AccessKey.new()
        self._asked = port
        self._job_seconds = job_seconds
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._regions = Regions(self._make_region)

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return self._server.port if self._server else self._asked

    @property
    def endpoint_url(self) -> str:
        """What AWS_ENDPOINT_URL has to be."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> EmbeddedAws:
        """Listen and serve. The first one of a process starts with nothing in its services.

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
            Router(self._regions, self.credentials),
            threaded=True,
            request_handler=_Connection,
            fd=listener.fileno(),
        )
        listener.close()
        self._server.connections = _Connections()  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="embedded-aws")
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening, end the jobs, close what is still connected."""
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
    """A listening socket; werkzeug, left to itself, prints and exits when the port is taken."""
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


class _Connections:
    """The sockets that are open, so that stopping can close those that clients keep alive."""

    def __init__(self) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def add(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def remove(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def close(self) -> None:
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


class _Connection(MotoRequestHandler):
    """One client's connection, kept alive from request to request.

    werkzeug's own handler closes it after each response, as it cannot know what the application left unread. Here
    the body is read before the application runs, so the next request starts where it should; a new connection for
    every call would double the time of the small ones.
    """

    protocol_version = "HTTP/1.1"
    # Head and body are separate writes to some clients: with Nagle's algorithm each would wait for an ACK.
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)  # type: ignore[attr-defined]

    def finish(self) -> None:
        self.server.connections.remove(self.connection)  # type: ignore[attr-defined]
        super().finish()

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        length = environ.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()):
            # Where the next request begins nobody knows, so this one is the last.
            self.close_connection = True
            closing = [("Content-Type", "text/plain; charset=utf-8"), ("Connection", "close")]
            self._send("400 Bad Request", closing, f"Content-Length {length!r} is no number of bytes\n".encode())
            return
        chunked = environ.get("wsgi.input_terminated", False)
        body = environ["wsgi.input"].read() if chunked else self.rfile.read(int(length))
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ[HEADERS] = self.headers
        chunks, status, headers = run_wsgi_app(self.server.app, environ, buffered=True)
        ours = {"date", "server", "connection", "transfer-encoding"}
        if status.startswith("204"):
            ours.add("content-length")
        kept = [(name, value) for name, value in headers if name.lower() not in ours]
        self._send(status, kept, b"".join(chunks))

    def _send(self, status: str, headers: list[tuple[str, str]], data: bytes) -> None:
        code, _, phrase = status.partition(" ")
        self.send_response(int(code), phrase)
        for name, value in headers:
            self.send_header(name, value)
        # RFC 9110, section 6.4.1. A body would be taken for the answer to the next request, if that is quick enough.
        bodiless = int(code) in (204, 304)
        if "content-length" not in {name.lower() for name, _ in headers} and not bodiless:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and not bodiless:
            self.wfile.write(data)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:  # noqa: ARG002
        log.debug("%s %s", self.requestline, code)

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002
        log.warning(format, *args)
