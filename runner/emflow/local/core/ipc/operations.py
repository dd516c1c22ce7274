"""What components can ask for over IPC, and the errors they can get, named as their SDK knows them.

https://docs.aws.amazon.com/greengrass/v2/developerguide/interprocess-communication.html#ipc-operations
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from emflow.local.core.bridge import PublishRefused
from emflow.local.core.configuration import find
from emflow.local.core.ipc.access import MQTT_PROXY, allowed

Document = dict[str, Any]

PREFIX = "aws.greengrass#"


class IpcError(Exception):
    """An error of the service model; `kind` is its name, such as `UnauthorizedError`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Device(Protocol):
    """What the operations need of the device."""

    thing: str

    def configuration(self, component: str) -> Mapping[str, Any] | None:
        """A component's configuration, None when there is no such component."""

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Raises PublishRefused."""

    def reported(self, component: str, state: str) -> None:
        """A component says what state it is in."""


class Operations:
    """The operations that this device answers, each a function of who asks and what."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._handlers: dict[str, Callable[[str, Document], Document]] = {
            "PublishToIoTCore": self._publish,
            "GetConfiguration": self._get_configuration,
            "UpdateState": self._update_state,
        }

    def answer(self, component: str, operation: str, request: Document) -> Document:
        """The response of an operation, by its name without prefix.

        Raises:
            IpcError: the error to answer with.
        """
        handler = self._handlers.get(operation)
        if handler is None:
            answered = ", ".join(sorted(self._handlers))
            raise IpcError("ServiceError", f"{operation} is not supported by this core device, only {answered}")
        return handler(component, request)

    def _publish(self, component: str, request: Document) -> Document:
        topic, qos = request.get("topicName"), str(request.get("qos", "1"))
        if not isinstance(topic, str) or not topic:
            raise IpcError("InvalidArgumentsError", "topicName is missing")
        if qos not in ("0", "1"):
            raise IpcError("InvalidArgumentsError", f"qos {qos!r} is neither 0 nor 1")
        operation = f"{PREFIX}PublishToIoTCore"
        configuration = self._device.configuration(component) or {}
        if not allowed(configuration, MQTT_PROXY, operation, topic, self._device.thing):
            raise IpcError(
                "UnauthorizedError",
                f"Authorization failed with error Principal {component} is not authorized to perform "
                f"{MQTT_PROXY}:{operation} on resource {topic}",
            )
        try:
            payload = base64.b64decode(request.get("payload") or "", validate=True)
        except (ValueError, TypeError) as error:
            raise IpcError("InvalidArgumentsError", "payload is not base64") from error
        try:
            self._device.publish(topic, payload, int(qos), bool(request.get("retain", False)))
        except PublishRefused as error:
            raise IpcError("ServiceError", f"Publish to topic {topic} failed with error {error}") from error
        return {}

    def _get_configuration(self, component: str, request: Document) -> Document:
        """The value at keyPath: a map as it is, anything else as a map with its key."""
        name, keys = request.get("componentName") or component, request.get("keyPath") or []
        if not isinstance(name, str):
            raise IpcError("InvalidArgumentsError", "componentName is not text")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise IpcError("InvalidArgumentsError", "keyPath is not a list of texts")
        configuration = self._device.configuration(name)
        try:
            if configuration is None:
                raise KeyError(name)
            value = find(configuration, keys)
        except KeyError as error:
            raise IpcError("ResourceNotFoundError", "Key not found") from error
        return {"componentName": name, "value": value if isinstance(value, dict) else {keys[-1]: value}}

    def _update_state(self, component: str, request: Document) -> Document:
        state = request.get("state")
        if state not in ("RUNNING", "ERRORED"):
            raise IpcError("InvalidArgumentsError", f"state {state!r} is neither RUNNING nor ERRORED")
        self._device.reported(component, state)
        return {}
