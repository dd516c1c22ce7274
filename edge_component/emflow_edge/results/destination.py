"""Where results were asked to go: `--publish` and the files that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from emflow_schema.errors import ConfigProblem

# AWS IoT tells MQTT from HTTPS by this name (ALPN) on the port that firewalls leave open.
# https://docs.aws.amazon.com/iot/latest/developerguide/protocols.html
_ALPN, _HTTPS = "x-amzn-mqtt-ca", 443
# Not flags: a command line shows to everybody on the device.
USERNAME, PASSWORD = "EMFLOW_MQTT_USERNAME", "EMFLOW_MQTT_PASSWORD"


@dataclass(frozen=True)
class Destination:
    """An outlet as it was asked for. kind: `greengrass`, `stdout` or `mqtt`; the rest is for MQTT.

    alpn: protocol that is named while TLS is negotiated; empty for none.
    username, password: whom the broker lets in; None where it asks nobody.
    """

    kind: str
    host: str = ""
    port: int = 0
    tls: bool = False
    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    alpn: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def destination(
    text: str,
    cert: Path | None = None,
    key: Path | None = None,
    ca: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Destination:
    """What `--publish` says: greengrass, stdout, mqtt://HOST[:PORT] or mqtts://HOST[:PORT].

    Args:
        environment: has a broker's user in EMFLOW_MQTT_USERNAME and EMFLOW_MQTT_PASSWORD.

    Raises:
        ConfigProblem: it says none of these, a certificate's file is not there or out of reach, or one of user and
            password is missing.
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
    username, password = ((environment or {}).get(name) or None for name in (USERNAME, PASSWORD))
    if (username is None) != (password is None):
        raise ConfigProblem(f"{USERNAME} and {PASSWORD} belong together: set both or neither")
    alpn = _ALPN if tls and port == _HTTPS else ""
    return Destination("mqtt", host, port, tls, cert, key, ca, alpn, username, password)


def _look_for(flag: str, path: Path) -> None:
    try:
        there = path.is_file()
    except OSError as error:
        raise ConfigProblem(f"{flag}: {path} cannot be read: {error.strerror}") from error
    if not there:
        raise ConfigProblem(f"{flag}: there is no file {path}")
