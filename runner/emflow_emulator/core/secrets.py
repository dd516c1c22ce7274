"""`aws.greengrass.SecretManager`: fetches secrets with the device's credentials and keeps them in memory.

A deployment lists the secrets (`cloudSecrets`), and fails when one cannot be fetched. Secrets are never written to
disk: a real core device stores them encrypted, and this one fetches them again when it starts.
https://docs.aws.amazon.com/greengrass/v2/developerguide/secret-manager-component.html
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from emflow.json_text import from_json
from emflow.workflow.redaction import remember_secret
from emflow_emulator.core.cloud_client import CloudLost
from emflow_emulator.core.failure import DeploymentFailure

SECRET_MANAGER = "aws.greengrass.SecretManager"  # noqa: S105 a name, no secret

_CURRENT = "AWSCURRENT"
_CODES = {"ResourceNotFoundException": "RESOURCE_NOT_FOUND", "AccessDeniedException": "ACCESS_DENIED"}


class NoSecret(Exception):
    """The secret is not available; the text has the reason."""


@dataclass(frozen=True)
class Secret:
    """One version of a secret; `value` is text or bytes."""

    arn: str
    name: str
    version: str
    stages: tuple[str, ...]
    value: str | bytes = field(repr=False)

    def is_called(self, secret_id: str) -> bool:
        """Whether this is its ARN, with or without the six characters at its end, or its name."""
        return secret_id in (self.arn, re.sub(r"-[A-Za-z0-9]{6}$", "", self.arn), self.name)


@dataclass(frozen=True)
class FetchedSecrets:
    """The version stages of each secret in a deployment, and the fetched secrets."""

    wanted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()


class Secrets:
    """The secrets of the device.

    Args:
        client: makes a client for Secrets Manager with the device's current credentials; raises CloudLost.
    """

    def __init__(self, client: Callable[[], Any]) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._held = FetchedSecrets()

    @property
    def held(self) -> FetchedSecrets:
        return self._held

    def fetch(self, configuration: Mapping[str, Any]) -> FetchedSecrets:
        """Fetch the secrets in the component's configuration, without making them available yet.

        Raises:
            DeploymentFailure: the configuration is not valid, or a secret cannot be fetched.
        """
        wanted = dict(_wanted(configuration))
        try:
            client = self._client() if wanted else None
            found = [_get(client, arn, stage) for arn, stages in wanted.items() for stage in stages]
        except CloudLost as error:
            raise DeploymentFailure(f"No credentials to fetch secrets with: {error}", "CLOUD_API_ERROR") from error
        return FetchedSecrets(wanted, tuple(found))

    def hold(self, held: FetchedSecrets) -> None:
        """Make these secrets available instead of the previous ones, and mask them in what the device reports."""
        for secret in held.secrets:
            _mask(secret.value)
        with self._lock:
            self._held = held

    def get(self, secret_id: str, version: str | None, stage: str | None, refresh: bool) -> Secret:
        """A secret of the current deployment.

        Args:
            secret_id: its ARN or its name.
            version, stage: at most one of them; the default is the stage AWSCURRENT.
            refresh: fetch it again first, unless `version` is given; if that fails, the stored secret is returned.

        Raises:
            NoSecret: the secret is not in the current deployment.
        """
        stage = stage or (None if version else _CURRENT)
        if refresh and stage:
            self._refresh(secret_id, stage)
        called = [secret for secret in self._held.secrets if secret.is_called(secret_id)]
        if not called:
            raise NoSecret(f"Secret not found {secret_id}")
        for secret in called:
            if secret.version == version or stage in secret.stages:
                return secret
        which = f"Version Id {version}" if version else f"Version stage {stage}"
        raise NoSecret(f"{which} not found for secret {secret_id}")

    def _refresh(self, secret_id: str, stage: str) -> None:
        with self._lock:
            held = self._held
        old = next((each for each in held.secrets if each.is_called(secret_id) and stage in each.stages), None)
        if old is None:
            return
        try:
            fresh = _get(self._client(), old.arn, stage)
        except (CloudLost, DeploymentFailure):
            return
        with self._lock:
            if self._held is held:
                self._held = FetchedSecrets(held.wanted, tuple(fresh if each is old else each for each in held.secrets))


def _mask(value: str | bytes) -> None:
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    remember_secret("secret", text)
    with contextlib.suppress(ValueError):
        remember_secret("", from_json(text))  # of an object, the values whose keys say that they are secret


def _wanted(configuration: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    entries = configuration.get("cloudSecrets") or []
    for entry in entries if isinstance(entries, list) else [entries]:
        arn = entry.get("arn") if isinstance(entry, Mapping) else None
        labels = entry.get("labels") or [] if isinstance(entry, Mapping) else []
        if not isinstance(arn, str) or not isinstance(labels, list):
            raise DeploymentFailure(
                f"cloudSecrets of {SECRET_MANAGER} has {entry!r}, which is not of the form {{arn, labels}}",
                "COMPONENT_CONFIGURATION_NOT_VALID",
            )
        yield arn, _stages(labels)


def _stages(labels: Iterable[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([_CURRENT, *map(str, labels)]))


def _get(client: Any, secret_id: str, stage: str) -> Secret:
    try:
        answer = client.get_secret_value(SecretId=secret_id, VersionStage=stage)
    except ClientError as error:
        code = _CODES.get(error.response.get("Error", {}).get("Code", ""), "BAD_REQUEST")
        raise DeploymentFailure(f"Cannot fetch secret {secret_id}: {error}", "CLOUD_API_ERROR", code) from error
    except BotoCoreError as error:
        raise DeploymentFailure(
            f"Cannot fetch secret {secret_id}: {error}", "CLOUD_API_ERROR", "NETWORK_ERROR"
        ) from error
    value = answer.get("SecretString")
    return Secret(
        arn=answer["ARN"],
        name=answer["Name"],
        version=answer["VersionId"],
        stages=tuple(answer.get("VersionStages", ())),
        value=value if value is not None else bytes(answer["SecretBinary"]),
    )
