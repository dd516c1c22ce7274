"""Operations for AWS IoT Core's MQTT broker: publish and subscribe.

https://docs.aws.amazon.com/greengrass/v2/developerguide/ipc-iot-core-mqtt.html
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from emflow_emulator.core.ipc.access import MQTT_PROXY, allowed
from emflow_emulator.core.ipc.errors import PREFIX, Document, IpcError, invalid, text, unauthorized
from emflow_emulator.core.ipc.streams import Stream
from emflow_emulator.core.mqtt_bridge import PublishRefused
from emflow_emulator.core.topics import SubscribeRefused


class MqttHost(Protocol):
    """The device's connection to the MQTT broker."""

    thing: str

    def configuration(self, component: str) -> Mapping[str, Any] | None: ...

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Raises PublishRefused."""

    def subscribe(self, topic_filter: str, qos: int, on_message: Callable[[str, bytes], None]) -> Callable[[], None]:
        """Call `on_message` for messages; the returned function ends the subscription. Raises SubscribeRefused."""


class Mqtt:
    """The operations.

    Args:
        highest_qos: that a component may ask for when it publishes.
    """

    def __init__(self, device: MqttHost, highest_qos: int = 1) -> None:
        self._device = device
        self._highest_qos = highest_qos
        self.handlers = {"PublishToIoTCore": self._publish}
        self.streams = {"SubscribeToIoTCore": self._subscribe}

    def _publish(self, component: str, request: Document) -> Document:
        topic, qos = text(request, "topicName"), _qos(request, self._highest_qos)
        self._authorize(component, "PublishToIoTCore", topic)
        payload = decoded(request.get("payload"), "payload")
        try:
            self._device.publish(topic, payload, min(qos, 1), bool(request.get("retain", False)))
        except PublishRefused as error:
            raise IpcError("ServiceError", f"Publish to topic {topic} failed with error {error}") from error
        return {}

    def _subscribe(self, component: str, request: Document, stream: Stream) -> Document:
        topic_filter, qos = text(request, "topicName"), _qos(request)
        self._authorize(component, "SubscribeToIoTCore", topic_filter)

        def on_message(topic: str, payload: bytes) -> None:
            message = {"topicName": topic, "payload": base64.b64encode(payload).decode()}
            stream.send("IoTCoreMessage", {"message": message})

        try:
            stream.on_close(self._device.subscribe(topic_filter, qos, on_message))
        except SubscribeRefused as error:
            raise IpcError("ServiceError", f"Subscribe to topic {topic_filter} failed with error {error}") from error
        return {}

    def _authorize(self, component: str, name: str, topic: str) -> None:
        configuration = self._device.configuration(component) or {}
        if not allowed(configuration, MQTT_PROXY, PREFIX + name, topic, self._device.thing):
            raise unauthorized(component, MQTT_PROXY, PREFIX + name, topic)


def decoded(value: Any, key: str) -> bytes:
    """The bytes of a request's base64 value.

    Raises:
        IpcError: it is not base64.
    """
    try:
        return base64.b64decode(value or "", validate=True)
    except (ValueError, TypeError) as error:
        raise invalid(f"{key} is not base64") from error


def _qos(request: Mapping[str, Any], highest: int = 1) -> int:
    qos = str(request.get("qos", "1"))
    if qos not in ("0", "1", "2") or int(qos) > highest:
        raise invalid(f"qos {qos!r} is neither 0 nor 1")
    return int(qos)
