"""Where results go: AWS IoT Core through the Greengrass nucleus, an MQTT broker, or standard output."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from emflow_edge.ipc import Nucleus
from emflow_edge.problems import ConfigProblem, EdgeProblem

_TIMEOUT, _GOODBYE = 5.0, 0.5
_KEEP_ALIVE = 30


class Outlet(Protocol):
    """One place to send results to. Used by one thread."""

    def send(self, payload: str) -> None:
        """Deliver one message; any exception means that it has to be tried again."""

    def close(self) -> None:
        """Let go of it; nothing is sent afterwards."""


@dataclass(frozen=True)
class Destination:
    """An outlet as it was asked for. kind: `greengrass`, `stdout` or `mqtt`; the rest is for MQTT."""

    kind: str
    host: str = ""
    port: int = 0
    tls: bool = False
    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None


def destination(text: str, cert: Path | None = None, key: Path | None = None, ca: Path | None = None) -> Destination:
    """What `--publish` says: greengrass, stdout, mqtt://HOST[:PORT] or mqtts://HOST[:PORT].

    Raises:
        ConfigProblem: it says none of these, or a certificate's file is not there.
    """
    if text in ("greengrass", "stdout"):
        return Destination(text)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("mqtt", "mqtts") or not host or parts.username or parts.path not in ("", "/"):
        raise ConfigProblem("--publish: has to be greengrass, stdout, mqtt://HOST:PORT or mqtts://HOST:PORT")
    tls = parts.scheme == "mqtts"
    for flag, path in (("--cert", cert), ("--key", key), ("--ca", ca)):
        if path is not None and not path.is_file():
            raise ConfigProblem(f"{flag}: there is no file {path}")
    if (cert is None) != (key is None):
        raise ConfigProblem("--cert and --key belong together: give both or neither")
    if not tls and (cert or ca):
        raise ConfigProblem("--cert, --key and --ca are for mqtts://")
    return Destination("mqtt", host, port or (8883 if tls else 1883), tls, cert, key, ca)


class GreengrassOutlet:
    """AWS IoT Core through the nucleus, which keeps QoS 1 messages while the core is offline."""

    def __init__(self, nucleus: Nucleus, topic: str, qos: int) -> None:
        self._nucleus, self._topic, self._qos = nucleus, topic, qos

    def send(self, payload: str) -> None:
        self._nucleus.publish(self._topic, payload.encode(), self._qos)

    def close(self) -> None:
        self._nucleus.close()


class StdoutOutlet:
    """One message a line."""

    def send(self, payload: str) -> None:
        try:
            sys.stdout.write(payload + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read has gone, as `head` does; what is left in the buffer must not complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise EdgeProblem("standard output was closed") from None

    def close(self) -> None:
        return


class MqttOutlet:
    """An MQTT 3.1.1 broker, spoken to directly. Connects at the first message, and again after each failure."""

    def __init__(self, to: Destination, client_id: str, topic: str, qos: int) -> None:
        # Used later; a missing package is told now, and not taken for a broker that is away.
        import awscrt.mqtt  # noqa: F401

        self._to, self._client_id, self._topic, self._qos = to, client_id, topic, qos
        self._connection: Any = None
        self._lost = threading.Event()

    def send(self, payload: str) -> None:
        try:
            if self._lost.is_set():
                self.close()
            if self._connection is None:
                self._connection = self._connect()
            self._publish(payload)
        except Exception:
            # A connection that is kept would send the message by itself later, beside the one that is tried again.
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # One that was lost never answers; awscrt lets go of it by itself then.
            with contextlib.suppress(TimeoutError, FutureTimeoutError):
                connection.disconnect().exception(_GOODBYE)

    def _publish(self, payload: str) -> None:
        from awscrt import mqtt

        done, _ = self._connection.publish(self._topic, payload, mqtt.QoS(self._qos))
        done.result(_TIMEOUT)

    def _connect(self) -> Any:
        from awscrt import io, mqtt

        bootstrap = io.ClientBootstrap.get_or_create_static_default()
        tls = self._tls(io) if self._to.tls else None
        lost = self._lost = threading.Event()
        connection = mqtt.Connection(
            mqtt.Client(bootstrap, tls),
            host_name=self._to.host,
            port=self._to.port,
            client_id=self._client_id,
            clean_session=True,
            keep_alive_secs=_KEEP_ALIVE,
            # It would connect again by itself, in its own time, and hold back what is published until then.
            on_connection_interrupted=lambda **_: lost.set(),
        )
        connection.connect().result(_TIMEOUT)
        return connection

    def _tls(self, io: Any) -> Any:
        """What TLS needs, out of the files.

        Raises:
            EdgeProblem: they are no certificates or keys.
        """
        try:
            if self._to.cert and self._to.key:
                options = io.TlsContextOptions.create_client_with_mtls_from_path(str(self._to.cert), str(self._to.key))
            else:
                options = io.TlsContextOptions()
            if self._to.ca:
                options.override_default_trust_store_from_path(None, str(self._to.ca))
            return io.ClientTlsContext(options)
        except Exception as error:
            # awscrt tells a number and its name only, whichever file it is.
            raise EdgeProblem(f"--cert, --key or --ca holds no certificate or key that TLS can use: {error}") from error
