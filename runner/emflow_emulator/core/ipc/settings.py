"""Operations for configuration: get, update, subscribe to changes, and validate a new one before it is deployed.

https://docs.aws.amazon.com/greengrass/v2/developerguide/ipc-component-configuration.html
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from emflow_emulator.core.configuration import Stale, changes, find
from emflow_emulator.core.ipc.errors import Document, IpcError, invalid, key_path, not_found, optional_text
from emflow_emulator.core.ipc.replies import PendingReplies
from emflow_emulator.core.ipc.streams import Stream, Subscriptions

_STATUSES = ("ACCEPTED", "REJECTED")


class ConfigurationHost(Protocol):
    """The configurations of the device's components."""

    def configuration(self, component: str) -> Mapping[str, Any] | None:
        """A component's configuration, None when there is no such component."""

    def configure(self, component: str, keys: list[str], values: Mapping[str, Any], timestamp: float) -> None:
        """Merge values into a component's configuration; `timestamp` is in seconds since 1970.

        Raises:
            Stale: the current value is newer.
            LookupError: there is no such component.
            ValueError: the value at `keys` is not a map.
        """


@dataclass(frozen=True)
class Report:
    """A component's answer about a configuration that is to be deployed."""

    accepted: bool
    message: str


class Settings:
    """The operations, and the events that the device sends for those that are streams."""

    def __init__(self, device: ConfigurationHost) -> None:
        self._device = device
        self._listeners: Subscriptions[tuple[str, list[str]]] = Subscriptions()
        self._validators: Subscriptions[None] = Subscriptions()
        self._reports: PendingReplies[Report] = PendingReplies()
        self.handlers = {
            "GetConfiguration": self._get,
            "UpdateConfiguration": self._update,
            "SendConfigurationValidityReport": self._report,
        }
        self.streams = {
            "SubscribeToConfigurationUpdate": self._subscribe,
            "SubscribeToValidateConfigurationUpdates": self._subscribe_to_validate,
        }

    def changed(self, component: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Notify the subscribers: one event for every changed value, with its key path."""
        paths = list(changes(old, new))
        for stream, (about, keys) in self._listeners.all():
            for path in paths if about == component else ():
                within = min(len(path), len(keys))
                if path[:within] == keys[:within]:
                    event = {"componentName": component, "keyPath": path}
                    stream.send("ConfigurationUpdateEvents", {"configurationUpdateEvent": event})

    def validate(
        self, deployment: str, proposed: Mapping[str, Mapping[str, Any]], timeout: float, given_up: threading.Event
    ) -> dict[str, str]:
        """Ask the subscribed components to validate a configuration; returns the reason of each rejection.

        As in the classic nucleus: when at least one of them subscribed, all have to answer, also those that did not
        subscribe and are not asked. One that does not answer in time counts as one that rejects its configuration.

        Args:
            proposed: the new configuration of each component whose configuration changes.
        """
        asked = [name for name in proposed if self.asks(name)]
        if not asked:
            return {}
        for name in proposed:
            self._reports.ask(name, deployment)
        for name in asked:
            event = {"configuration": proposed[name], "deploymentId": deployment}
            for stream in self._validators.of(name)[:1]:
                stream.send("ValidateConfigurationUpdateEvents", {"validateConfigurationUpdateEvent": event})
        reports = self._reports.wait(deployment, timeout, given_up)
        silent = f"no validity report within {timeout:g} s"
        never = (
            f"{silent}: it did not subscribe to validate its configuration, and another component of the deployment did"
        )
        missing = {name: Report(False, silent if name in asked else never) for name in proposed}
        return {name: report.message for name, report in (missing | reports).items() if not report.accepted}

    def asks(self, component: str) -> bool:
        """Whether a component subscribed to be asked about its configuration."""
        return bool(self._validators.of(component))

    def _get(self, component: str, request: Document) -> Document:
        """The value at keyPath: a map unchanged, any other value as a map with its key."""
        name, keys = optional_text(request, "componentName") or component, key_path(request)
        value = self._find(name, keys)
        return {"componentName": name, "value": value if isinstance(value, dict) else {keys[-1]: value}}

    def _update(self, component: str, request: Document) -> Document:
        keys, values, timestamp = key_path(request), request.get("valueToMerge"), request.get("timestamp")
        if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
            raise invalid("Timestamp is required")
        if not isinstance(values, dict):
            raise invalid("ValueToMerge is required")
        if (keys[0] == "accessControl") if keys else ("accessControl" in values):
            raise invalid("Config update is not allowed for following fields [accessControl]")
        try:
            self._device.configure(component, keys, values, timestamp)
        except Stale as error:
            raise IpcError("FailedUpdateConditionCheckError", str(error)) from error
        except LookupError as error:
            raise invalid(f"Component config not found for component {component}") from error
        except ValueError as error:
            raise invalid(str(error)) from error
        return {}

    def _subscribe(self, component: str, request: Document, stream: Stream) -> Document:
        name, keys = optional_text(request, "componentName") or component, key_path(request)
        self._find(name, keys)
        self._listeners.add(stream, (name, keys))
        return {}

    def _subscribe_to_validate(self, component: str, _: Document, stream: Stream) -> Document:
        self._validators.add(stream, None)
        stream.on_close(lambda: self._on_unsubscribed(component))
        return {}

    def _on_unsubscribed(self, component: str) -> None:
        if not self._validators.of(component):
            self._reports.give_up(component)

    def _report(self, component: str, request: Document) -> Document:
        report = request.get("configurationValidityReport")
        if not isinstance(report, dict) or not isinstance(report.get("deploymentId"), str):
            raise invalid("Cannot accept configuration validity report, the deployment ID provided was null")
        if report.get("status") not in _STATUSES:
            raise invalid(f"status {report.get('status')!r} is neither ACCEPTED nor REJECTED")
        verdict = Report(report["status"] == "ACCEPTED", str(report.get("message") or ""))
        if not self._reports.answer(component, report["deploymentId"], verdict):
            raise invalid("Validation request either timed out or was never made")
        return {}

    def _find(self, component: str, keys: list[str]) -> Any:
        configuration = self._device.configuration(component)
        try:
            if configuration is None:
                raise KeyError(component)
            return find(configuration, keys)
        except KeyError as error:
            raise not_found("Key not found") from error
