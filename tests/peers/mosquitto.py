"""Mosquitto as a broker that comes and goes, a listener in MQTT 5, and a proxy that holds answers back."""

from __future__ import annotations

import contextlib
import queue
import shutil
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from awscrt import io, mqtt5

from certificates import Certificates
from support import Process, free_port

TIMEOUT = 60.0


def program() -> str | None:
    """Where Mosquitto is installed."""
    return shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")


class Mosquitto:
    """A broker on loopback, always on the same port.

    Args:
        start: starts a program.
        certificates: asks for TLS and a client certificate.
        rules: lines of an access control list; without any, everybody may do everything.
    """

    def __init__(
        self,
        start: Callable[..., Process],
        folder: Path,
        certificates: Certificates | None = None,
        rules: tuple[str, ...] = (),
    ) -> None:
        self.port = free_port()
        self._start, self._config = start, folder / f"mosquitto-{self.port}.conf"
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "user root"]
        if certificates:
            server = certificates.server
            lines += [f"cafile {certificates.ca}", f"certfile {server.cert}", f"keyfile {server.key}"]
            lines += ["require_certificate true"]
        if rules:
            allowed = folder / "rules.acl"
            allowed.write_text("\n".join([*rules, ""]))
            allowed.chmod(0o600)
            lines += [f"acl_file {allowed}"]
        self._config.write_text("\n".join([*lines, ""]))
        self.run()

    def run(self) -> None:
        self._process = self._start(str(program()), "-v", "-c", str(self._config))
        self._process.says("running")

    def kill(self) -> None:
        self._process.end(signal.SIGKILL)


class Listener:
    """Everything that arrives on topics, from when it is made on, and what was retained."""

    def __init__(self, port: int, topic_filter: str, certificates: Certificates | None = None) -> None:
        self._arrived: queue.SimpleQueue[mqtt5.PublishPacket] = queue.SimpleQueue()
        ready, self._stopped = threading.Event(), threading.Event()
        tls = None
        if certificates:
            mine = certificates.client
            options = io.TlsContextOptions.create_client_with_mtls_from_path(str(mine.cert), str(mine.key))
            options.override_default_trust_store_from_path(None, str(certificates.ca))
            tls = io.ClientTlsContext(options)
        self._client = mqtt5.Client(
            mqtt5.ClientOptions(
                host_name="127.0.0.1",
                port=port,
                tls_ctx=tls,
                connect_options=mqtt5.ConnectPacket(client_id=str(uuid.uuid4())),
                # They would be its user's name, and rules without one not for it.
                disable_metrics=True,
                on_publish_callback_fn=lambda told: self._arrived.put(told.publish_packet),
                on_lifecycle_event_connection_success_fn=lambda _: ready.set(),
                on_lifecycle_event_stopped_fn=lambda _: self._stopped.set(),
            )
        )
        self._client.start()
        assert ready.wait(TIMEOUT)
        wanted = mqtt5.Subscription(topic_filter, mqtt5.QoS.AT_LEAST_ONCE, retain_as_published=True)
        self._client.subscribe(mqtt5.SubscribePacket([wanted])).result(TIMEOUT)

    def next(self) -> Any:
        return self._arrived.get(timeout=TIMEOUT)

    def close(self) -> None:
        self._client.stop()
        assert self._stopped.wait(TIMEOUT)


@contextlib.contextmanager
def listening(port: int, topic_filter: str, certificates: Certificates | None = None) -> Iterator[Listener]:
    listener = Listener(port, topic_filter, certificates)
    yield listener
    listener.close()


class LateAnswers:
    """A proxy on loopback before a port; what the other side says waits while it is held.

    Args:
        here: the proxy's own port; 0 picks a free one.
    """

    def __init__(self, port: int, here: int = 0) -> None:
        self._port = port
        self._passes = threading.Event()
        self._passes.set()
        self._listener = socket.create_server(("127.0.0.1", here))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """From now on, no answer passes."""
        self._passes.clear()

    def release(self) -> None:
        """All answers pass: those that wait, and those to come."""
        self._passes.set()

    def close(self) -> None:
        self._listener.close()
        self.release()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                client.close()  # the other side has gone, and may come back
                continue
            self._open += [client, server]
            for job in (
                lambda client=client, server=server: self._at_once(client, server),
                lambda client=client, server=server: self._when_released(server, client),
            ):
                threading.Thread(target=job, daemon=True).start()

    def _at_once(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _when_released(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                self._passes.wait()
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
