"""Ways out of the device: AWS IoT Core through the Greengrass nucleus, and standard output; `mqtt` has the others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from emflow_edge.ipc import Nucleus
from emflow_edge.timestamps import utc_now
from emflow_schema.edge_config import Publish
from emflow_schema.errors import ConfigProblem, EdgeProblem


@dataclass(frozen=True)
class Message:
    """What is sent. lasting: it is no result, and of use however late it arrives."""

    topic: str
    payload: str
    qos: int = 1
    retain: bool = False
    lasting: bool = False


class MessageRejected(Exception):
    """The other side does not want this message; others it may."""


class MessageSink(Protocol):
    """One place to send messages to. Used by one thread."""

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        """Get ready to send.

        Args:
            lost: called once, from any thread, when nothing can be sent any more until it was closed and opened again.
            will: what the other side is to publish then, where it can do such a thing.

        Raises:
            EdgeProblem: it will never be.
            Exception: it is not now.
        """

    def send(self, message: Message) -> Future[Any]:
        """Begin to deliver one message, after those before it. `MessageRejected` or any other exception: it was not delivered.

        Raises:
            EdgeProblem: nothing can be delivered any more.
            Exception: it was not delivered.
        """

    def close(self) -> None:
        """Let go. What was not delivered by now will not be."""


class GreengrassSink:
    """AWS IoT Core through the nucleus, which keeps QoS 1 messages while the core is offline."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        """Nothing: the nucleus connects by itself, and has no wills."""

    def send(self, message: Message) -> Future[Any]:
        asked = self._nucleus.publish(message.topic, message.payload.encode(), message.qos, message.retain)
        return checked_future(asked, lambda _: None, _refusal)

    def close(self) -> None:
        """Nothing: the nucleus is there for more than messages."""


class StdoutSink:
    """One result a line, and nothing else: there are no topics to tell it from."""

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        """Nothing: it is open from the start."""

    def send(self, message: Message) -> Future[Any]:
        try:
            if not message.lasting:
                sys.stdout.write(message.payload + "\n")
                sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read has gone, as `head` does; what is left in the buffer must not complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise EdgeProblem("standard output was closed") from None
        done: Future[Any] = Future()
        done.set_result(None)
        return done

    def close(self) -> None:
        """Nothing: others write there, too."""


def checked_future(
    asked: Future[Any],
    check: Callable[[Any], object],
    mend: Callable[[BaseException], BaseException] = lambda error: error,
) -> Future[Any]:
    """A future that fails when `check` raises for the result of `asked`, and with `mend` of the error of `asked`."""
    answer: Future[Any] = Future()

    def done(asked: Future[Any]) -> None:
        try:
            error = asked.exception()
            if error is None:
                check(asked.result())
        except BaseException as raised:
            error = raised
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(mend(error))

    asked.add_done_callback(done)
    return answer


def _refusal(error: BaseException) -> BaseException:
    # By name: the nucleus' errors come with a package that only a component in Greengrass has to load.
    if type(error).__name__ in ("UnauthorizedError", "InvalidArgumentsError"):
        return MessageRejected(getattr(error, "message", None) or str(error))
    return error


# Where results were asked to go: `--publish` and the files that belong to it.


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


# What a status topic says when the component is not there: on its way out, and as its last will.


OFFLINE = "offline"


@dataclass(frozen=True)
class OfflineMessages:
    """Who is gone, and where it is told."""

    to: Publish
    thing: str
    version: str

    @property
    def will(self) -> Message:
        """For the broker to publish when the connection is lost; when that will be, nobody knows yet."""
        return self._message(reason="the connection was lost")

    def farewell(self) -> Message:
        """For the end of a run."""
        return self._message(reason="it was ended", since=utc_now())

    def _message(self, **more: str) -> Message:
        told = {"thing": self.thing, "version": self.version, "status": OFFLINE, "streams": {}, **more}
        text = json.dumps(told, ensure_ascii=False)
        return Message(self.to.status_topic or "", text, self.to.qos, retain=True, lasting=True)


def offline_messages(to: Publish, thing: str, version: str) -> OfflineMessages | None:
    """None where there is no status topic."""
    return OfflineMessages(to, thing, version) if to.status_topic else None
