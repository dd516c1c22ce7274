"""Operations for local publish/subscribe: messages between components that stay on the device.

https://docs.aws.amazon.com/greengrass/v2/developerguide/ipc-publish-subscribe.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from emflow_emulator.core.ipc.access import PUBSUB, allowed
from emflow_emulator.core.ipc.errors import PREFIX, Document, invalid, text, unauthorized
from emflow_emulator.core.ipc.streams import Stream, Subscriptions
from emflow_emulator.core.topics import SubscribeRefused, check
from emflow_emulator.mqtt.topic_filters import fits

_OTHERS = "RECEIVE_MESSAGES_FROM_OTHERS"
_MODES = ("RECEIVE_ALL_MESSAGES", _OTHERS)
_KINDS = ("jsonMessage", "binaryMessage")


class TopicHost(Protocol):
    """The functions of the device that local publish/subscribe needs."""

    thing: str

    def configuration(self, component: str) -> Mapping[str, Any] | None: ...


class LocalTopics:
    def __init__(self, device: TopicHost) -> None:
        self._device = device
        self._listeners: Subscriptions[tuple[str, str]] = Subscriptions()
        self.handlers = {"PublishToTopic": self._publish}
        self.streams = {"SubscribeToTopic": self._subscribe}

    def _publish(self, component: str, request: Document) -> Document:
        topic, message = text(request, "topic"), request.get("publishMessage")
        self._authorize(component, "PublishToTopic", topic)
        if "+" in topic or "#" in topic:
            raise invalid(f"Publish topic {topic} must not contain a wildcard")
        kinds = [kind for kind in _KINDS if isinstance(message, dict) and isinstance(message.get(kind), dict)]
        if not isinstance(message, dict) or len(kinds) != 1:
            raise invalid("publishMessage is neither a jsonMessage nor a binaryMessage")
        content = {"message": message[kinds[0]].get("message"), "context": {"topic": topic}}
        for stream, (topic_filter, mode) in self._listeners.all():
            if fits(topic_filter, topic) and not (mode == _OTHERS and stream.component == component):
                stream.send("SubscriptionResponseMessage", {kinds[0]: content})
        return {}

    def _subscribe(self, component: str, request: Document, stream: Stream) -> Document:
        topic_filter, mode = text(request, "topic"), request.get("receiveMode") or _MODES[0]
        self._authorize(component, "SubscribeToTopic", topic_filter)
        if mode not in _MODES:
            raise invalid(f"receiveMode {mode!r} is neither {' nor '.join(_MODES)}")
        try:
            check(topic_filter)
        except SubscribeRefused as error:
            raise invalid(str(error)) from error
        self._listeners.add(stream, (topic_filter, mode))
        return {}

    def _authorize(self, component: str, name: str, topic: str) -> None:
        configuration = self._device.configuration(component) or {}
        if not allowed(configuration, PUBSUB, PREFIX + name, topic, self._device.thing):
            raise unauthorized(component, PUBSUB, PREFIX + name, topic)
