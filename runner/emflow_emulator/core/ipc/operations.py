"""All IPC operations of components, by name.

https://docs.aws.amazon.com/greengrass/v2/developerguide/interprocess-communication.html#ipc-operations
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from emflow_emulator.core.ipc import components, lifecycle, local_topics, mqtt, secret_values, settings
from emflow_emulator.core.ipc.errors import Document, IpcError
from emflow_emulator.core.ipc.streams import Stream
from emflow_emulator.core.nuclei import CLASSIC, NucleusModel

Handler = Callable[[str, Document], Document]
StreamHandler = Callable[[str, Document, Stream], Document]


class IpcHost(
    settings.ConfigurationHost,
    mqtt.MqttHost,
    lifecycle.LifecycleHost,
    local_topics.TopicHost,
    components.ComponentHost,
    secret_values.SecretHost,
    Protocol,
):
    """The functions of the device that the operations need."""


class Operations:
    """The operations that this device supports; each is a function of the calling component and its request.

    `settings` and `lifecycle` also send the device's requests to components.
    """

    def __init__(self, device: IpcHost, nucleus: NucleusModel = CLASSIC) -> None:
        self._only = nucleus.operations
        self.settings = settings.Settings(device)
        self.lifecycle = lifecycle.Lifecycle(device, nucleus.unknown_state)
        local, component_queries = local_topics.LocalTopics(device), components.Components(device)
        broker, secrets = mqtt.Mqtt(device, nucleus.highest_qos), secret_values.SecretValues(device)
        self._handlers: dict[str, Handler] = {
            **self.settings.handlers,
            **self.lifecycle.handlers,
            **broker.handlers,
            **local.handlers,
            **component_queries.handlers,
            **secrets.slow,
        }
        self._streams: dict[str, StreamHandler] = {
            **self.settings.streams,
            **self.lifecycle.streams,
            **broker.streams,
            **local.streams,
        }
        self._slow = {*broker.streams, *secrets.slow}

    def is_slow(self, operation: str) -> bool:
        """Whether an operation may have to wait for AWS or the broker."""
        return operation in self._slow

    def is_stream(self, operation: str) -> bool:
        """Whether events follow the response of an operation."""
        return operation in self._streams

    def answer(self, component: str, operation: str, request: Document, stream: Stream) -> Document:
        """The response of an operation, given by its name without prefix.

        Args:
            stream: for the events of the operation, if it has any.

        Raises:
            IpcError: the error to answer with.
        """
        if self._only is not None and operation not in self._only:
            raise IpcError("ServiceError", "")
        if operation in self._streams:
            return self._streams[operation](component, request, stream)
        handler = self._handlers.get(operation)
        if handler is None:
            answered = ", ".join(sorted({*self._handlers, *self._streams}))
            raise IpcError("ServiceError", f"{operation} is not supported by this core device, only {answered}")
        return handler(component, request)
