"""An AWS that answers as it is told, for those who call it, and nobody's credentials."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

IDENTITY = (
    "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>"
    "<Arn>arn:aws:iam::123456789012:root</Arn><UserId>A</UserId></GetCallerIdentityResult></GetCallerIdentityResponse>"
)


@pytest.fixture
def nobody(monkeypatch):
    """Somebody who has never used AWS here."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def signed_in(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture
def endpoint(monkeypatch, signed_in):
    """A server that answers as told; its requests' headers are kept."""

    class Server(ThreadingHTTPServer):
        answers: list = []  # noqa: RUF012 one a test
        seen: list = []  # noqa: RUF012 one a test

    class Handler(BaseHTTPRequestHandler):
        server: Server

        def do_POST(self):
            self._answer()

        def do_GET(self):
            self._answer()

        def _answer(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.server.seen.append(self.headers)
            code, body, *headers = self.server.answers.pop(0) if self.server.answers else (200, IDENTITY)
            self.send_response_only(code)
            for name, value in {"Date": self.date_time_string(), **(headers[0] if headers else {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.answers, server.seen = [], []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pauses(monkeypatch):
    """How long botocore would have slept between tries; it does not sleep."""
    taken: list[Any] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", taken.append)
    return taken
