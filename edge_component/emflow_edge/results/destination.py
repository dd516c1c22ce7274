"""Where results were asked to go: `--publish` and the files that belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from emflow_edge.problems import ConfigProblem

# AWS IoT tells MQTT from HTTPS by this name (ALPN) on the port that firewalls leave open.
# https://docs.aws.amazon.com/iot/latest/developerguide/protocols.html
_ALPN, _HTTPS = "x-amzn-mqtt-ca", 443


@dataclass(frozen=True)
class Destination:
    """An outlet as it was asked for. kind: `greengrass`, `stdout` or `mqtt`; the rest is for MQTT.

    alpn: protocol that is named while TLS is negotiated; empty for none.
    """

    kind: str
    host: str = ""
    port: int = 0
    tls: bool = False
    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    alpn: str = ""


def destination(text: str, cert: Path | None = None, key: Path | None = None, ca: Path | None = None) -> Destination:
    """What `--publish` says: greengrass, stdout, mqtt://HOST[:PORT] or mqtts://HOST[:PORT].

    Raises:
        ConfigProblem: it says none of these, or a certificate's file is not there or out of reach.
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
        if path is not None:
            _look_for(flag, path)
    if (cert is None) != (key is None):
        raise ConfigProblem("--cert and --key belong together: give both or neither")
    if not tls and (cert or ca):
        raise ConfigProblem("--cert, --key and --ca are for mqtts://")
    port = port or (8883 if tls else 1883)
    return Destination("mqtt", host, port, tls, cert, key, ca, _ALPN if tls and port == _HTTPS else "")


def _look_for(flag: str, path: Path) -> None:
    try:
        there = path.is_file()
    except OSError as error:
        raise ConfigProblem(f"{flag}: {path} cannot be read: {error.strerror}") from error
    if not there:
        raise ConfigProblem(f"{flag}: there is no file {path}")
