"""Sinks for messages: the interface, AWS IoT Core through the nucleus, standard output; `mqtt` has those for
brokers."""

from __future__ import annotations

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
from emflow_schema.json_text import json_text
from emflow_schema.result_message import MOST_BYTES


@dataclass(frozen=True)
class Message:
    """A message. lasting: not a result; it does not expire."""

    topic: str
    payload: str
    qos: int = 1
    retain: bool = False
    lasting: bool = False


class MessageRejected(Exception):
    """The sink rejects this message permanently; others may be accepted."""


class MessageTooLarge(MessageRejected):
    """A message has more bytes than the sink takes; it was not sent.

    Args:
        size, most: bytes that it has with its topic, and that are possible.
        whose: whose limit it is, as the subject of a sentence.
    """

    def __init__(self, size: int, most: int, whose: str) -> None:
        super().__init__(f"a message of {size} bytes is not sent, {whose} takes {most} at most")


class MessageRefused(ConnectionError):
    """The sink answers that it does not take this message now; the connection is not lost."""


def too_large(message: Message, most: int, whose: str, around: int) -> Future[Any] | None:
    """A failed future for a message that is larger than possible; None where it can be sent.

    Args:
        most: bytes that are possible.
        around: bytes that are sent with topic and payload.
    """
    size = len(message.payload.encode()) + len(message.topic.encode()) + around
    if size <= most:
        return None
    refused: Future[Any] = Future()
    refused.set_exception(MessageTooLarge(size, most, whose))
    return refused


class MessageSink(Protocol):
    """Where messages are sent. Not thread-safe."""

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        """Connect.

        Args:
            lost: called once from any thread when the connection is lost; close and open the sink then.
            will: message that the broker publishes when the connection is lost, if the sink supports it.

        Raises:
            EdgeProblem: the problem is permanent.
            Exception: not possible now.
        """

    def send(self, message: Message) -> Future[Any]:
        """Start sending a message, after the previous ones. `MessageRejected` or any other exception: it was not
        delivered.

        Raises:
            EdgeProblem: the problem is permanent.
            Exception: it was not delivered.
        """

    def close(self) -> None:
        """Disconnect. Messages without an answer may not be delivered."""


class GreengrassSink:
    """AWS IoT Core through the nucleus, which keeps QoS 1 messages while the core is offline."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus

    def open(self, lost: Callable[[], object], will: Message | None) -> None:  # noqa: ARG002
        """The nucleus connects by itself, and does not support wills."""
        self._nucleus.on_lost = lost

    def send(self, message: Message) -> Future[Any]:
        if self._nucleus.is_lite and message.retain and not message.payload:
            # It retains nothing, so there is nothing to remove; what is sent would be an empty message for everybody.
            return _done()
        # Payloads are sent to the nucleus in base64: four bytes for three.
        most = (_LITE_MESSAGE - _LITE_AROUND) * 3 // 4 if self._nucleus.is_lite else MOST_BYTES
        refused = too_large(message, most, _LITE if self._nucleus.is_lite else _AWS_IOT, _PACKET)
        if refused is not None:
            return refused
        asked = self._nucleus.publish(message.topic, message.payload.encode(), message.qos, message.retain)
        return checked_future(asked, lambda _: None, _refusal)

    def close(self) -> None:
        """Nothing to do: the nucleus client is shared."""


class StdoutSink:
    """Results only, one for each line: standard output has no topics."""

    def open(self, lost: Callable[[], object], will: Message | None) -> None:
        """Nothing to do."""

    def send(self, message: Message) -> Future[Any]:
        try:
            if not message.lasting:
                sys.stdout.write(message.payload + "\n")
                sys.stdout.flush()
        except BrokenPipeError:
            # The reader has closed the pipe, as `head` does; the remaining buffer must not cause an error at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise EdgeProblem("standard output was closed") from None
        return _done()

    def close(self) -> None:
        """Nothing to do: standard output stays open."""


def _done() -> Future[Any]:
    done: Future[Any] = Future()
    done.set_result(None)
    return done


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
    # By name: the error classes are in a package that only a component in Greengrass imports.
    words = getattr(error, "message", None) or str(error) or type(error).__name__
    if type(error).__name__ in ("UnauthorizedError", "InvalidArgumentsError"):
        return MessageRejected(words)
    return MessageRefused(words) if type(error).__name__ == "ServiceError" else error


# An IPC message of the lite nucleus has 10,000 bytes at most; above, it ends the connection. Around payload and topic
# are the headers of an event stream and JSON. Seen on version 2.6.0.
_LITE_MESSAGE, _LITE_AROUND = 10_000, 250
_LITE, _AWS_IOT = "the lite nucleus", "AWS IoT"
# Headers of an MQTT packet, as far as they are the same for all messages.
_PACKET = 16


# AWS IoT accepts MQTT on port 443 with this protocol name (ALPN).
# https://docs.aws.amazon.com/iot/latest/developerguide/protocols.html
_ALPN, _HTTPS = "x-amzn-mqtt-ca", 443
# Not flags: a command line shows to everybody on the device.
USERNAME, PASSWORD = "EMFLOW_MQTT_USERNAME", "EMFLOW_MQTT_PASSWORD"


@dataclass(frozen=True)
class Destination:
    """The sink that `--publish` names. kind: `greengrass`, `stdout` or `mqtt`; the rest is for MQTT.

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


OFFLINE = "offline"


@dataclass(frozen=True)
class OfflineMessages:
    """Makes the messages on the status topic that say that this component is offline."""

    to: Publish
    thing: str
    version: str

    @property
    def will(self) -> Message:
        """The will: published by the broker when the connection is lost."""
        return self._message(reason="the connection was lost")

    def on_end(self) -> Message:
        """Published at the normal end of a run."""
        return self._message(reason="it was ended", since=utc_now())

    def _message(self, **more: str) -> Message:
        message = {"thing": self.thing, "version": self.version, "status": OFFLINE, "streams": {}, **more}
        text = json_text(message)
        return Message(self.to.status_topic or "", text, self.to.qos, retain=True, lasting=True)


def offline_messages(to: Publish, thing: str, version: str) -> OfflineMessages | None:
    """None where there is no status topic."""
    return OfflineMessages(to, thing, version) if to.status_topic else None
