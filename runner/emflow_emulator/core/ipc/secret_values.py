"""The operation that gives components the secrets of `aws.greengrass.SecretManager`.

https://docs.aws.amazon.com/greengrass/v2/developerguide/ipc-secret-manager.html
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Protocol

from emflow_emulator.core.ipc.access import allowed
from emflow_emulator.core.ipc.errors import (
    PREFIX,
    Document,
    IpcError,
    invalid,
    not_found,
    optional_text,
    text,
    unauthorized,
)
from emflow_emulator.core.secrets import SECRET_MANAGER, NoSecret, Secret


class SecretHost(Protocol):
    """The secrets of the device."""

    thing: str

    def configuration(self, component: str) -> Mapping[str, Any] | None: ...

    def runs(self, component: str) -> bool:
        """Whether a component is deployed."""

    def secret(self, secret_id: str, version: str | None, stage: str | None, refresh: bool) -> Secret:
        """Raises NoSecret."""


class SecretValues:
    def __init__(self, device: SecretHost) -> None:
        self._device = device
        self.slow = {"GetSecretValue": self._get}

    def _get(self, component: str, request: Document) -> Document:
        if not self._device.runs(SECRET_MANAGER):
            raise IpcError("ServiceError", f"Component {SECRET_MANAGER} is not deployed to this core device")
        secret_id = text(request, "secretId")
        version, stage = optional_text(request, "versionId"), optional_text(request, "versionStage")
        operation = f"{PREFIX}GetSecretValue"
        configuration = self._device.configuration(component) or {}
        if not allowed(configuration, SECRET_MANAGER, operation, secret_id, self._device.thing):
            raise unauthorized(component, SECRET_MANAGER, operation, secret_id)
        if version and stage:
            raise invalid("Both versionId and Stage are set in the request")
        try:
            found = self._device.secret(secret_id, version, stage, request.get("refresh") is True)
        except NoSecret as error:
            raise not_found(str(error)) from error
        value = (
            {"secretString": found.value}
            if isinstance(found.value, str)
            else {"secretBinary": base64.b64encode(found.value).decode()}
        )
        return {
            "secretId": found.arn,
            "versionId": found.version,
            "versionStage": list(found.stages),
            "secretValue": value,
        }
