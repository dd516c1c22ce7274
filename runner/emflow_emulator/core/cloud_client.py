"""The device's calls to the cloud: thing, deployments, component versions, artifacts, credentials and reports.

A real core device is notified of deployments over MQTT and authenticates with its certificate; here it polls, with the
run's access key.
"""

from __future__ import annotations

import socket
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection
from botocore.httpsession import URLLib3Session

from emflow.json_text import from_json, to_json
from emflow.problems import Problem
from emflow_emulator.access import AccessKey
from emflow_emulator.core.configuration import Update
from emflow_emulator.core.failure import DeploymentFailure

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2.type_defs import ComponentCandidateTypeDef

_REPORTS = "emflow"
"""The service name in the signatures of reports."""

_GROUPS_EVERY = 5.0
"""Seconds for which the list of the thing's groups is cached."""


@dataclass(frozen=True)
class DesiredComponent:
    """A component in a deployment. `configured`: it has a configurationUpdate, if only one that changes nothing."""

    version: str
    update: Update
    configured: bool = False


@dataclass(frozen=True)
class DeploymentDocument:
    """A deployment for this device, or for a group that it is in.

    Args:
        notify: whether components are notified and may delay the update.
        update_timeout: seconds in which they have to answer; the API's default.
        validation_timeout: seconds in which they have to accept or reject their new configuration; the classic
            nucleus's default.
    """

    id: str
    target: str
    created: datetime
    components: Mapping[str, DesiredComponent]
    rollback: bool
    notify: bool = True
    update_timeout: float = 60.0
    validation_timeout: float = 20.0

    @property
    def requirement_source(self) -> str:
        """Its target, such as `thing/NAME`, which names it in version requirements."""
        return self.target.rsplit(":", 1)[-1]


class CloudLost(Exception):
    """The cloud does not answer, or its answer is not valid; a later attempt may succeed."""


class CloudRefused(Exception):
    """The cloud refuses a report; sending it again would not help."""


class CloudLink:
    """The connection of one thing to the cloud."""

    def __init__(
        self, thing: str, endpoint_url: str, key: AccessKey, region: str, role_alias: str | None = None
    ) -> None:
        self.thing = thing
        self.endpoint_url = endpoint_url
        self._role_alias = role_alias
        self._region = region
        session = boto3.Session(key.id, key.secret, region_name=region)
        self._signer = SigV4Auth(Credentials(key.id, key.secret), _REPORTS, region)
        self._config = Config(
            retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=5, s3={"addressing_style": "path"}
        )
        self._iot = session.client("iot", endpoint_url=endpoint_url, config=self._config)
        self._greengrass = session.client("greengrassv2", endpoint_url=endpoint_url, config=self._config)
        self._s3 = session.client("s3", endpoint_url=endpoint_url, config=self._config)
        self._sts = session.client("sts", endpoint_url=endpoint_url, config=self._config)
        # Head and body are sent by separate writes: with Nagle's algorithm the second would wait for an ACK.
        at_once: list[Any] = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        self._wire = URLLib3Session(timeout=10, socket_options=at_once)
        self._targets: tuple[str, ...] = ()
        self._targets_known = 0.0

    def make_thing(self) -> str:
        """Create the thing if it does not exist; returns its ARN.

        Raises:
            Problem: the cloud does not answer, or refuses a thing of this name.
        """
        try:
            self._arn: str = self._iot.create_thing(thingName=self.thing)["thingArn"]
        except self._iot.exceptions.ResourceAlreadyExistsException:
            self._arn = self._iot.describe_thing(thingName=self.thing)["thingArn"]
        except NoConnection as error:
            raise Problem(
                f"nothing answers at {self.endpoint_url}",
                mend="Start the embedded AWS first, or give its address with --endpoint-url.",
            ) from error
        except (ClientError, BotoCoreError, ValueError) as error:
            raise Problem(f"cannot create thing {self.thing!r}: {error}") from error
        return self._arn

    def targets(self) -> set[str]:
        """What deployments for this thing may be for now, such as `thing/NAME` and `thinggroup/NAME`.

        Raises:
            CloudLost: the cloud does not answer.
        """
        self._targets = ()
        try:
            return {arn.rsplit(":", 1)[-1] for arn in self._targets_now()}
        except (ClientError, BotoCoreError) as error:
            raise CloudLost(str(error)) from error

    def deployments(self) -> list[tuple[str, str]]:
        """Id and status of the latest deployment to the thing and to each of its groups, oldest first.

        Raises:
            CloudLost: the cloud does not answer.
        """
        try:
            found = [
                each
                for target in self._targets_now()
                for each in self._greengrass.list_deployments(targetArn=target, historyFilter="LATEST_ONLY")[
                    "deployments"
                ]
            ]
        except (ClientError, BotoCoreError) as error:
            raise CloudLost(str(error)) from error
        found.sort(key=lambda each: each["creationTimestamp"])
        return [(each["deploymentId"], each["deploymentStatus"]) for each in found]

    def deployment(self, deployment_id: str) -> DeploymentDocument:
        """Read a deployment.

        Raises:
            CloudLost: the cloud does not answer.
            DeploymentFailure: the deployment is not valid.
        """
        try:
            answer = self._greengrass.get_deployment(deploymentId=deployment_id)
        except (ClientError, BotoCoreError) as error:
            raise CloudLost(str(error)) from error
        policies = answer.get("deploymentPolicies", {})
        update = policies.get("componentUpdatePolicy", {})
        validation = policies.get("configurationValidationPolicy", {})
        return DeploymentDocument(
            id=deployment_id,
            target=answer["targetArn"],
            created=answer["creationTimestamp"],
            components={name: _desired_component(name, spec) for name, spec in answer.get("components", {}).items()},
            rollback=policies.get("failureHandlingPolicy", "ROLLBACK") == "ROLLBACK",
            notify=update.get("action", "NOTIFY_COMPONENTS") == "NOTIFY_COMPONENTS",
            update_timeout=float(update.get("timeoutInSeconds", DeploymentDocument.update_timeout)),
            validation_timeout=float(validation.get("timeoutInSeconds", DeploymentDocument.validation_timeout)),
        )

    def candidate(
        self, name: str, requirements: Mapping[str, str], platform: Mapping[str, str], version: str | None
    ) -> bytes | None:
        """The recipe of the component version that the cloud chooses; None when there is no suitable version."""
        candidate: ComponentCandidateTypeDef = {"componentName": name, "versionRequirements": dict(requirements)}
        if version:
            candidate["componentVersion"] = version
        try:
            answer = self._greengrass.resolve_component_candidates(
                platform={"name": platform.get("os", ""), "attributes": dict(platform)}, componentCandidates=[candidate]
            )
        except self._greengrass.exceptions.ResourceNotFoundException:
            return None
        except (ClientError, BotoCoreError) as error:
            raise DeploymentFailure(str(error), "CLOUD_API_ERROR", _cloud_code(error)) from error
        recipe: bytes = answer["resolvedComponentVersions"][0]["recipe"]
        return recipe

    def download(self, bucket: str, key: str, file: Path) -> None:
        """Write an artifact's bytes to a file.

        Raises:
            DeploymentFailure: it cannot be downloaded.
        """
        what = f"Failed to download artifact s3://{bucket}/{key}"
        try:
            self._s3.download_file(bucket, key, str(file))
        except ClientError as error:
            missing = error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
            code = "S3_RESOURCE_NOT_FOUND" if missing else "S3_ACCESS_DENIED"
            raise DeploymentFailure(f"{what}: {error}", "ARTIFACT_DOWNLOAD_ERROR", "S3_ERROR", code) from error
        except BotoCoreError as error:
            raise DeploymentFailure(f"{what}: {error}", "ARTIFACT_DOWNLOAD_ERROR", "NETWORK_ERROR") from error
        except OSError as error:
            raise DeploymentFailure(f"{what}: {error}", "ARTIFACT_DOWNLOAD_ERROR", "IO_WRITE_ERROR") from error

    def credentials(self) -> Mapping[str, Any]:
        """Credentials of the role of the device's role alias, as STS returns them.

        Raises:
            CloudLost: no credentials are available; the text has the reason.
        """
        try:
            alias = self._role_alias or next(iter(self._iot.list_role_aliases()["roleAliases"]), None)
            if alias is None:
                raise CloudLost("there is no IoT role alias in this account")
            role = self._iot.describe_role_alias(roleAlias=alias)["roleAliasDescription"]["roleArn"]
            answer = self._sts.assume_role(RoleArn=role, RoleSessionName=self.thing)
        except (ClientError, BotoCoreError) as error:
            raise CloudLost(str(error)) from error
        return answer["Credentials"]

    def secrets_manager(self) -> Any:
        """A client for Secrets Manager with the current credentials of the device's role.

        Raises:
            CloudLost: no credentials are available.
        """
        given = self.credentials()
        session = boto3.Session(
            given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name=self._region
        )
        return session.client("secretsmanager", endpoint_url=self.endpoint_url, config=self._config)

    def report(self, document: Mapping[str, Any]) -> None:
        """Send a status report to the cloud.

        Raises:
            CloudLost: the cloud does not answer.
            CloudRefused: the cloud refuses the report.
        """
        url = f"{self.endpoint_url}/_emflow/cores/{urllib.parse.quote(self.thing)}"
        request = AWSRequest("POST", url, {"Content-Type": "application/json"}, to_json(document).encode())
        self._signer.add_auth(request)
        try:
            answer = self._wire.send(request.prepare())
        except HTTPClientError as error:
            raise CloudLost(str(error)) from error
        if answer.status_code >= 500:
            raise CloudLost(f"{answer.status_code} {answer.text}")
        if answer.status_code >= 300:
            raise CloudRefused(f"{answer.status_code} {answer.text}")

    def _targets_now(self) -> tuple[str, ...]:
        if time.monotonic() - self._targets_known > _GROUPS_EVERY or not self._targets:
            groups = self._iot.list_thing_groups_for_thing(thingName=self.thing)["thingGroups"]
            self._targets = (self._arn, *(group["groupArn"] for group in groups))
            self._targets_known = time.monotonic()
        return self._targets


def _desired_component(name: str, spec: Mapping[str, Any]) -> DesiredComponent:
    update = spec.get("configurationUpdate") or {}
    try:
        merge = from_json(update.get("merge") or "{}")
    except ValueError as error:
        raise DeploymentFailure(
            f"The configuration to merge for {name} is not JSON: {error}", "DEPLOYMENT_DOCUMENT_NOT_VALID"
        ) from error
    if not isinstance(merge, dict):
        raise DeploymentFailure(
            f"The configuration to merge for {name} is not a JSON object", "DEPLOYMENT_DOCUMENT_NOT_VALID"
        )
    return DesiredComponent(spec["componentVersion"], Update(tuple(update.get("reset") or ()), merge), bool(update))


def _cloud_code(error: ClientError | BotoCoreError) -> str:
    if not isinstance(error, ClientError):
        return "NETWORK_ERROR"
    denied = error.response.get("Error", {}).get("Code") == "AccessDeniedException"
    return "ACCESS_DENIED" if denied else "BAD_REQUEST"
