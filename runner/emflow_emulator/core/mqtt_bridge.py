"""Connects the device to the MQTT broker: publishes and subscribes for components, and keeps messages while offline.

It works as the nucleus's spooler: in memory, with a maximum size; a publish counts as done when the message is in the
spool. While offline, QoS 1 messages wait and QoS 0 messages are refused.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Any

from awscrt import mqtt
from awscrt.exceptions import AwsCrtError

from emflow_emulator.access import BrokerUser
from emflow_emulator.core.logs import DeviceLog
from emflow_emulator.core.nuclei import CLASSIC
from emflow_emulator.core.topics import Inbox, OnMessage
from emflow_emulator.mqtt.packets import LARGEST_PAYLOAD, LONGEST_TOPIC, MOST_SLASHES

_NOT_IN_TOPICS = re.compile(
    "[\\0-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufdd0-\\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)
"""Characters that MQTT 3.1.1, 1.5.3, forbids in text or allows a broker to refuse; the client library refuses them."""
_AGAIN = 1.0
"""Seconds between attempts to connect."""


class PublishRefused(Exception):
    """The message is refused; the text has the reason."""


@dataclass(frozen=True)
class Publication:
    topic: str
    payload: bytes
    qos: int
    retain: bool

    @property
    def size(self) -> int:
        return len(self.payload)


def check(publication: Publication) -> None:
    """Raises PublishRefused for a message that AWS IoT Core would refuse."""
    topic = publication.topic
    if not topic:
        raise PublishRefused("There is no topic")
    if _NOT_IN_TOPICS.search(topic):
        raise PublishRefused(f"The topic {topic!r} has characters that are not allowed in UTF-8 text of MQTT")
    if "+" in topic or "#" in topic:
        raise PublishRefused(f"The topic {topic!r} has a wildcard; one can only subscribe to those")
    if len(topic.encode()) > LONGEST_TOPIC or topic.count("/") > MOST_SLASHES:
        raise PublishRefused(f"The topic is longer than {LONGEST_TOPIC} bytes or has over {MOST_SLASHES} slashes")
    if publication.size > LARGEST_PAYLOAD:
        raise PublishRefused(f"The payload is {publication.size} bytes, over the limit of {LARGEST_PAYLOAD}")


class Bridge:
    """A connection to a broker on loopback that is restored when it breaks, from `start` to `stop`.

    Args:
        user: the broker's user.
        client_id: the thing's name, as on a real core device.
        largest_spool: bytes of the messages that the broker has not acknowledged; the default of the classic nucleus.
    """

    def __init__(
        self,
        host: str,
        port: int,
        user: BrokerUser,
        client_id: str,
        log: DeviceLog,
        largest_spool: int = CLASSIC.largest_spool,
    ) -> None:
        self._log = log
        self._largest_spool = largest_spool
        self._spool: deque[Publication] = deque()
        self._spooled = 0
        self._work = threading.Condition()
        self._online = False
        self._stopping = threading.Event()
        self._connection = mqtt.Connection(
            client=mqtt.Client(),
            host_name=host,
            port=port,
            client_id=client_id,
            username=user.name,
            password=user.password,
            clean_session=True,
            keep_alive_secs=30,
            reconnect_min_timeout_secs=1,
            reconnect_max_timeout_secs=5,
            on_connection_interrupted=lambda **facts: self._now(False, error=facts.get("error")),
            on_connection_resumed=lambda **_: self._now(True),
        )
        self._inbox = Inbox(self._connection)
        self._thread = threading.Thread(target=self._run, name="mqtt-bridge", daemon=True)

    def start(self) -> None:
        """Start connecting, and return at once; the broker need not run yet."""
        self._thread.start()

    def stop(self, patience: float = 2.0) -> None:
        """Send the spooled messages if the broker is connected, then disconnect."""
        with self._work:
            self._work.wait_for(lambda: not self._spool or not self._online, patience)
            self._stopping.set()
            self._work.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
            self._result(self._connection.disconnect(), patience)

    def publish(self, publication: Publication) -> None:
        """Put a message into the spool; messages are sent in order.

        Raises:
            PublishRefused: it breaks a limit, the spool is full, or it has QoS 0 and the broker is not connected.
        """
        check(publication)
        with self._work:
            if not self._online and not publication.qos:
                raise PublishRefused("Device is offline. Dropping QoS 0 message.")
            if self._spooled + publication.size > self._largest_spool:
                raise PublishRefused("Message spool is full. Message could not be added.")
            self._spool.append(publication)
            self._spooled += publication.size
            self._work.notify_all()

    def subscribe(self, topic_filter: str, qos: int, on_message: OnMessage) -> Callable[[], None]:
        """Call `on_message` for messages to these topics; the returned function ends the subscription.

        Raises:
            SubscribeRefused: the topic filter is not valid, or the broker refuses it.
        """
        return self._inbox.subscribe(topic_filter, qos, on_message)

    def _run(self) -> None:
        self._connect()
        while (publication := self._next()) is not None:
            if self._send(publication):
                with self._work:
                    self._spool.popleft()
                    self._spooled -= publication.size
                    self._work.notify_all()

    def _connect(self) -> None:
        """Try until it succeeds: the library reconnects by itself only after the first connection."""
        reported = False
        while not self._stopping.is_set():
            error = self._result(self._connection.connect(), 10.0)
            if error is None:
                self._now(True)
                return
            if not reported:
                self._say(
                    "Unable to connect to the MQTT broker; trying again",
                    level="WARN",
                    error=error,
                )
                reported = True
            self._stopping.wait(_AGAIN)

    def _next(self) -> Publication | None:
        """The oldest message, which stays in the spool until it is sent; None after `stop`."""
        with self._work:
            self._work.wait_for(lambda: self._stopping.is_set() or (self._spool and self._online))
            return None if self._stopping.is_set() else self._spool[0]

    def _send(self, publication: Publication) -> bool:
        try:
            future, _ = self._connection.publish(
                publication.topic, publication.payload, mqtt.QoS(publication.qos), publication.retain
            )
        except AwsCrtError as error:
            self._say("Unable to publish", level="WARN", topic=publication.topic, error=error)
            self._stopping.wait(_AGAIN)
            return False
        # When the connection breaks, the library keeps an unacknowledged message and sends it again afterwards.
        while not self._stopping.is_set():
            outcome = self._result(future, 0.5)
            if not isinstance(outcome, NotYet):
                if outcome is not None:
                    self._say("Unable to publish", level="WARN", topic=publication.topic, error=outcome)
                return True
        return False

    def _result(self, future: Future[Any], timeout: float) -> Exception | None:
        """The exception with which a future ends; None after success."""
        try:
            future.result(timeout)
        except Exception as error:  # the library raises exceptions of many types, and none of them may end this thread
            return error
        return None

    def _now(self, online: bool, error: object = None) -> None:
        with self._work:
            self._online = online
            self._work.notify_all()
        (self._inbox.connected if online else self._inbox.lost)()
        if online:
            self._say("Successfully connected to the MQTT broker")
        else:
            self._say("Connection interrupted; QoS 1 messages wait", level="WARN", error=error)

    def _say(self, text: str, *, level: str = "INFO", **context: Any) -> None:
        self._log.say("mqttclient.AwsIotMqttClient", text, level=level, **context)
