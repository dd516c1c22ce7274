"""HTTP server on 127.0.0.1: `/metrics` for Prometheus, `/status` as JSON, `/streams/NAME.jpg` as annotated frame."""

from __future__ import annotations

import http.server
import io
import logging
import socket
import threading
import time
from typing import Any, Callable, Optional
from urllib.parse import unquote, urlsplit

from emflow_edge.connections import Connections
from emflow_edge.observability.exposition import PROMETHEUS, MetricsExporter
from emflow_schema.json_text import json_text_with_nulls

log = logging.getLogger(__name__)

PictureProvider = Callable[[str], Optional[bytes]]
"""The newest picture of a stream as JPEG, drawn only when it is asked for; None when there is none."""

HOST = "127.0.0.1"
# Seconds for a whole request and its answer, however the client divides them; each connection keeps a thread.
_TIMEOUT = 10.0
# Connections whose request was accepted, and others, at a time; of more, the oldest have to go.
_AT_ONCE = 16


class MetricsServer:
    """The HTTP server.

    Raises:
        OSError: the port is not available.
    """

    def __init__(self, port: int, metrics: MetricsExporter, picture: PictureProvider) -> None:
        class Handler(_Handler):
            pass

        Handler.metrics, Handler.picture = metrics, staticmethod(picture)
        self._server = _Server((HOST, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default, 5, makes whoever comes with some others wait for a second

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        self.connections = Connections(_AT_ONCE)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.remove(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        log.debug("http", exc_info=True)


class _UntilDeadline(io.RawIOBase):
    """What a client sends, for `seconds` in all: one that sends byte by byte would never meet a time-out for each."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._deadline = connection, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(http.server.BaseHTTPRequestHandler):
    server_version, sys_version = "emflow-edge", ""
    timeout = _TIMEOUT
    server: _Server
    metrics: MetricsExporter
    picture: PictureProvider

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_UntilDeadline(self.connection, self.timeout))

    def parse_request(self) -> bool:
        """Read a request; False where there is none to answer, or it was refused."""
        if not super().parse_request():
            return False
        if self._not_ours():
            self.send_error(403, "this is for 127.0.0.1 only")
        elif self.command != "GET":
            self.send_error(405, "there is nothing but GET")
        elif self.server.connections.accept(self.connection):
            return True
        self.close_connection = True
        return False

    def _not_ours(self) -> bool:
        """Whether it came under another name, to be read by who owns that, or from the page of another site."""
        hosts = self.headers.get_all("Host") or [HOST]
        names = {(host.strip() or HOST).partition(":")[0].lower() for host in hosts}
        elsewhere = len(hosts) > 1 or not names <= {HOST, "localhost"} or not self.path.startswith("/")
        return elsewhere or "Origin" in self.headers or self._is_part_of_another_page()

    def _is_part_of_another_page(self) -> bool:
        """Whether a page of another site has it as a picture, a frame or the like; a link to here may be followed.

        It could not read the answer, but whether there was one, and each picture is drawn for who asks.
        """
        site, what = self.headers.get("Sec-Fetch-Site", "none"), self.headers.get("Sec-Fetch-Dest", "document")
        return site not in {"none", "same-origin"} and what != "document"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/metrics":
            self._send(PROMETHEUS, self.metrics.prometheus().encode())
        elif path == "/status":
            self._send("application/json", json_text_with_nulls(self.metrics.as_dict())[0].encode())
        elif path.startswith("/streams/") and path.endswith(".jpg"):
            picture = self.picture(path[len("/streams/") : -len(".jpg")])
            if picture is None:
                self.send_error(404, "no such stream, or no result yet")
            else:
                self._send("image/jpeg", picture)
        else:
            self.send_error(404, "available: /metrics, /status and /streams/NAME.jpg")

    def _send(self, kind: str, body: bytes) -> None:
        self.connection.settimeout(self.timeout)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        # A page of another site must not show it either, nor run it.
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Requests are not logged."""
