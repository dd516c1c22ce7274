"""Deployments: the components that a thing or a thing group has to run; a new deployment replaces the previous one.

Semantics: https://docs.aws.amazon.com/greengrass/v2/developerguide/manage-deployments.html. A deployment to a thing
ends when that thing reports its end; a deployment to a group stays active, because things may join the group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from emflow.json_text import from_json
from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.errors import ApiError, invalid
from emflow_emulator.aws.greengrass.components import ClientTokens, Components
from emflow_emulator.aws.internal_clients import InternalClients
from emflow_emulator.aws.paging import page
from emflow_emulator.aws.protocol import Handler, Params

DEFAULT_POLICIES: dict[str, Any] = {
    "failureHandlingPolicy": "ROLLBACK",
    "componentUpdatePolicy": {"timeoutInSeconds": 60, "action": "NOTIFY_COMPONENTS"},
    "configurationValidationPolicy": {"timeoutInSeconds": 30},
}
"""The defaults of a deployment, as documented for DeploymentPolicies."""

_TARGET = re.compile(r"arn:aws:iot:(?P<region>[^:]*):(?P<account>\d+):(?P<kind>thing|thinggroup)/(?P<name>.+)")


@dataclass
class Deployment:
    """One revision for one target. Only `status` changes after its creation."""

    id: str
    target: str
    revision: int
    created: datetime
    name: str | None
    components: dict[str, Any]
    policies: dict[str, Any]
    job: dict[str, Any]
    parent: str | None
    status: str = "ACTIVE"
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def to_thing(self) -> bool:
        return ":thing/" in self.target

    def iot_job(self, account_region: AccountRegion) -> dict[str, str]:
        """The members of an answer that name the IoT job; only deployments to groups use one."""
        return {} if self.to_thing else {"iotJobId": self.id, "iotJobArn": account_region.arn("iot", f"job/{self.id}")}


class Deployments:
    """The deployments of one region."""

    def __init__(self, account_region: AccountRegion, clients: InternalClients, components: Components) -> None:
        self._account_region = account_region
        self._clients = clients
        self._components = components
        self._all: dict[str, Deployment] = {}
        self._latest: dict[str, Deployment] = {}
        self._revisions: dict[str, int] = {}
        self._tokens = ClientTokens()

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateDeployment": self._create,
            "GetDeployment": self._get,
            "ListDeployments": self._list,
            "CancelDeployment": self._cancel,
            "DeleteDeployment": self._delete,
        }

    def find(self, deployment_id: str) -> Deployment | None:
        return self._all.get(deployment_id)

    def tagged(self) -> dict[str, dict[str, str]]:
        """The tags of every deployment, by ARN."""
        return {
            self._account_region.arn("greengrass", f"deployments:{each.id}"): dict(each.tags)
            for each in self._all.values()
        }

    def reported(self, deployment: Deployment, execution: str) -> None:
        """Take the status that a core device reports; for a deployment to one thing it is the deployment's status."""
        if not deployment.to_thing or deployment.status in ("CANCELED", "INACTIVE"):
            return
        match execution:
            case "SUCCEEDED" | "COMPLETED":
                deployment.status = "COMPLETED"
            case "FAILED" | "TIMED_OUT" | "REJECTED":
                deployment.status = "FAILED"

    def _create(self, params: Params) -> dict[str, Any]:
        return self._tokens.once(params, lambda: self._make(params))

    def _make(self, params: Params) -> dict[str, Any]:
        target = params["targetArn"]
        self._check_target(target)
        components = params.get("components", {})
        wrong = [finding for name, spec in components.items() for finding in self._findings(name, spec)]
        if wrong:
            raise invalid("; ".join(f"{name}: {why}" for name, why in wrong), *wrong)
        revision = self._revisions[target] = self._revisions.get(target, 0) + 1
        deployment = Deployment(
            id=str(uuid4()),
            target=target,
            revision=revision,
            created=datetime.now(UTC),
            name=params.get("deploymentName"),
            components=components,
            policies=_over(DEFAULT_POLICIES, params.get("deploymentPolicies", {})),
            job=params.get("iotJobConfiguration", {}),
            parent=params.get("parentTargetArn"),
            tags=dict(params.get("tags", {})),
        )
        before = self._latest.get(target)
        if before and before.status != "CANCELED":
            before.status = "INACTIVE"
        self._all[deployment.id] = self._latest[target] = deployment
        return {"deploymentId": deployment.id, **deployment.iot_job(self._account_region)}

    def _check_target(self, arn: str) -> None:
        found = _TARGET.fullmatch(arn)
        if (
            not found
            or found["region"] != self._account_region.region
            or found["account"] != self._account_region.account
        ):
            where = f"{self._account_region.region}, account {self._account_region.account}"
            raise invalid(f"Target {arn} is not in {where}.", ("targetArn", f"is not in {where}"))
        iot = self._clients("iot")
        try:
            if found["kind"] == "thing":
                iot.describe_thing(thingName=found["name"])
            else:
                iot.describe_thing_group(thingGroupName=found["name"])
        except ClientError as error:
            raise ApiError(
                "ResourceNotFoundException",
                f"Target {arn} does not exist.",
                resourceId=arn,
                resourceType=found["kind"],
            ) from error

    def _findings(self, name: str, spec: dict[str, Any]) -> list[tuple[str, str]]:
        wrong = []
        component = self._components.find(name, spec["componentVersion"])
        if component is None:
            wrong.append((name, f"there is no version {spec['componentVersion']} of this component"))
        elif not component.deployable:
            state = component.status["componentState"]
            wrong.append((name, f"version {spec['componentVersion']} is {state}, not DEPLOYABLE yet"))
        update = spec.get("configurationUpdate") or {}
        if "merge" in update:
            try:
                merge = from_json(update["merge"])
            except ValueError as error:
                wrong.append((name, f"configurationUpdate.merge is not JSON: {error}"))
            else:
                if not isinstance(merge, dict):
                    wrong.append((name, "configurationUpdate.merge is not a JSON object"))
        wrong.extend(
            (name, f"configurationUpdate.reset has {pointer!r}, which is not a JSON pointer such as /key")
            for pointer in update.get("reset", [])
            if pointer and not pointer.startswith("/")
        )
        return wrong

    def _get(self, params: Params) -> dict[str, Any]:
        deployment = self._at(params)
        return {
            **self._summary(deployment),
            **deployment.iot_job(self._account_region),
            "components": deployment.components,
            "deploymentPolicies": deployment.policies,
            "iotJobConfiguration": deployment.job,
            "tags": deployment.tags,
        }

    def _list(self, params: Params) -> dict[str, Any]:
        latest_only = params.get("historyFilter", "LATEST_ONLY") == "LATEST_ONLY"
        found = [
            each
            for each in sorted(self._all.values(), key=lambda each: (each.created, each.revision), reverse=True)
            if params.get("targetArn") in (None, each.target)
            and params.get("parentTargetArn") in (None, each.parent)
            and (not latest_only or self._latest.get(each.target) is each)
        ]
        listed, token = page(found, params)
        return {"deployments": [self._summary(each) for each in listed], "nextToken": token}

    def _cancel(self, params: Params) -> dict[str, Any]:
        deployment = self._at(params)
        if deployment.status != "ACTIVE":
            raise _conflict(deployment, f"Deployment {deployment.id} is {deployment.status}, so it cannot be canceled.")
        deployment.status = "CANCELED"
        return {"message": f"Deployment {deployment.id} was canceled."}

    def _delete(self, params: Params) -> None:
        deployment = self._at(params)
        if deployment.status == "ACTIVE":
            raise _conflict(deployment, f"Deployment {deployment.id} is ACTIVE; cancel it before you delete it.")
        del self._all[deployment.id]
        if self._latest.get(deployment.target) is deployment:
            del self._latest[deployment.target]

    def _at(self, params: Params) -> Deployment:
        deployment = self._all.get(params["deploymentId"])
        if deployment is None:
            raise ApiError(
                "ResourceNotFoundException",
                f"Deployment {params['deploymentId']} does not exist.",
                resourceId=params["deploymentId"],
                resourceType="deployment",
            )
        return deployment

    def _summary(self, deployment: Deployment) -> dict[str, Any]:
        return {
            "targetArn": deployment.target,
            "revisionId": str(deployment.revision),
            "deploymentId": deployment.id,
            "deploymentName": deployment.name,
            "creationTimestamp": deployment.created,
            "deploymentStatus": deployment.status,
            "isLatestForTarget": self._latest.get(deployment.target) is deployment,
            "parentTargetArn": deployment.parent,
        }


def _over(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The values, with defaults for missing keys."""
    merged = {**defaults, **values}
    return {
        key: {**defaults[key], **value} if isinstance(value, dict) and isinstance(defaults.get(key), dict) else value
        for key, value in merged.items()
    }


def _conflict(deployment: Deployment, text: str) -> ApiError:
    return ApiError("ConflictException", text, resourceId=deployment.id, resourceType="deployment")
