"""A network between an agent and S3 that a test can cut, mend and slow down; and S3 as readers see it."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import threading
import time
from typing import Any

KEY_ID, KEY_SECRET = f"LOCAL{secrets.token_hex(8).upper()}", secrets.token_hex(20)
"""What the embedded AWS of these tests lets in."""


class S3Proxy:
    """A TCP proxy on loopback, with one port for its whole life."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.delay = 0.0
        self.deaf = False
        """Whether answers get lost on their way, for connections that were made before as well."""
        self.port = 0
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and cut those that there are."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        # Closing alone does not wake a thread that is in accept().
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._to)
            with self._lock:
                self._open |= {client, server}
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay)
                if not (self.deaf and source.getpeername() == self._to):
                    sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()


class StoredCaptures:
    """A bucket, as whoever reads captured data has it."""

    def __init__(self, s3: Any, name: str) -> None:
        self._s3, self.name = s3, name

    def keys(self) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def lines(self) -> list[str]:
        """Keys of what holds lines."""
        return [key for key in self.keys() if key.endswith(".jsonl")]

    def read(self, key: str) -> bytes:
        data: bytes = self._s3.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def events(self) -> list[str]:
        """The capture ids of all lines of all objects."""
        return [
            json.loads(line)["eventMetadata"]["eventId"] for key in self.lines() for line in self.read(key).splitlines()
        ]
