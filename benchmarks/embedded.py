"""What the benchmarks of the runner have in common: an embedded AWS as a process, and a long line to it."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from emflow_emulator.access import Access, AccessKey, BrokerUser
from emflow_emulator.child import Child

KEY = AccessKey.new()
"""What the embedded AWS of a benchmark lets in."""


@contextlib.contextmanager
def embedded_aws(job_seconds: float = 0.0) -> Iterator[str]:
    """An empty embedded AWS in a process of its own; its address."""
    with tempfile.TemporaryDirectory() as folder:
        access = Path(folder) / "access.json"
        Access(KEY, BrokerUser.new()).write(access)
        args = ("--port", "0", "--mqtt-port", "0", "--job-seconds", str(job_seconds), "--access", str(access))
        child = Child("cloud", "emflow_emulator.cloud", args, Path(folder) / "cloud.log")
        try:
            yield str(child.ready()["endpoint_url"])
        finally:
            child.stop()


@contextlib.contextmanager
def far_away(endpoint: str, seconds: float) -> Iterator[str]:
    """The same endpoint at an address where every request arrives so much later."""
    where = urlsplit(endpoint)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # closed: the end
                return
            threading.Thread(target=_carry, args=(client, (where.hostname, where.port), seconds), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def _carry(client: socket.socket, server: tuple[str | None, int | None], seconds: float) -> None:
    """Carry one connection. What a client sends first after it was answered begins a request."""
    upstream = socket.create_connection(server)
    for each in (client, upstream):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answered = threading.Event()
    answered.set()

    def back() -> None:
        with contextlib.suppress(OSError):
            while data := upstream.recv(1 << 16):
                if not data.startswith(b"HTTP/1.1 100"):  # "go on", in the middle of an upload
                    answered.set()
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=back, daemon=True).start()
    with contextlib.suppress(OSError):
        while data := client.recv(1 << 16):
            if answered.is_set():
                answered.clear()
                time.sleep(seconds)
            upstream.sendall(data)
    with contextlib.suppress(OSError):
        upstream.shutdown(socket.SHUT_RDWR)


def environment(endpoint: str) -> dict[str, str]:
    """Of a process that works against an endpoint, and against nothing else."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return bare | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY.id,
        "AWS_SECRET_ACCESS_KEY": KEY.secret,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def settle(endpoint: str) -> None:
    """Have this process work against an endpoint."""
    made = environment(endpoint)
    os.environ.clear()
    os.environ.update(made)
