"""Core devices: the status reports that they send (`parse`), and the API calls that return the reported data (`Cores`).

The real nucleus sends reports over MQTT to AWS's fleet status service; here it is POST `/_emflow/cores/<thing>`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.errors import ApiError
from emflow_emulator.aws.greengrass.deployments import Deployment, Deployments
from emflow_emulator.aws.internal_clients import InternalClients
from emflow_emulator.aws.paging import page
from emflow_emulator.aws.protocol import Handler, Params

LIFECYCLE_STATES = ("NEW", "INSTALLED", "STARTING", "RUNNING", "STOPPING", "ERRORED", "BROKEN", "FINISHED")
RUNTIMES = ("aws_nucleus_classic", "aws_nucleus_lite")
EXECUTION_STATES = (
    "IN_PROGRESS",
    "QUEUED",
    "FAILED",
    "COMPLETED",
    "TIMED_OUT",
    "CANCELED",
    "REJECTED",
    "SUCCEEDED",
)
SUCCEEDED = ("SUCCEEDED", "COMPLETED")


@dataclass(frozen=True)
class ReportedComponent:
    """A component as a device reports it; `source`: the deployment that last installed or changed it there."""

    name: str
    version: str
    state: str
    details: str = ""
    is_root: bool = False
    codes: tuple[str, ...] = ()
    source: str | None = None


@dataclass(frozen=True)
class ReportedDeployment:
    id: str
    status: str
    reason: str = ""
    error_stack: tuple[str, ...] = ()
    error_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class StatusReport:
    """The complete state that a core device reports."""

    core_version: str
    platform: str
    architecture: str
    status: str
    runtime: str
    components: tuple[ReportedComponent, ...] = ()
    deployment: ReportedDeployment | None = None


def parse(document: Any) -> StatusReport:
    """Read a report.

    Raises:
        ApiError: a member is missing or not valid; the message names it.
    """
    top = _map(document, "the report")
    components = [_component(_map(each, "components[]")) for each in _list(top, "components")]
    deployment = top.get("deployment")
    return StatusReport(
        core_version=_text(top, "coreVersion"),
        platform=_text(top, "platform"),
        architecture=_text(top, "architecture"),
        status=_choice(top, "status", ("HEALTHY", "UNHEALTHY")),
        runtime=_choice({"runtime": RUNTIMES[0], **top}, "runtime", RUNTIMES),
        components=tuple(components),
        deployment=None if deployment is None else _deployment(_map(deployment, "deployment")),
    )


def _component(document: dict[str, Any]) -> ReportedComponent:
    return ReportedComponent(
        name=_text(document, "componentName"),
        version=_text(document, "componentVersion"),
        state=_choice(document, "lifecycleState", LIFECYCLE_STATES),
        details=str(document.get("lifecycleStateDetails") or "")[:1000],
        is_root=document.get("isRoot") is True,
        codes=tuple(map(str, _list(document, "lifecycleStatusCodes"))),
        source=_text(document, "installationSource") if document.get("installationSource") is not None else None,
    )


def _deployment(document: dict[str, Any]) -> ReportedDeployment:
    return ReportedDeployment(
        id=_text(document, "deploymentId"),
        status=_choice(document, "coreDeviceExecutionStatus", EXECUTION_STATES),
        reason=str(document.get("reason") or ""),
        error_stack=tuple(map(str, _list(document, "errorStack"))),
        error_types=tuple(map(str, _list(document, "errorTypes"))),
    )


def _map(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ApiError("ValidationException", f"{name} must be a JSON object")
    return value


def _list(document: dict[str, Any], name: str) -> list[Any]:
    value = document.get(name) or []
    if not isinstance(value, list):
        raise ApiError("ValidationException", f"{name} must be a list")
    return value


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise ApiError("ValidationException", f"{name} must be a string, but is {value!r}")
    return value


def _choice(document: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = _text(document, name)
    if value not in choices:
        raise ApiError("ValidationException", f"{name} must be one of {', '.join(choices)}, but is {value!r}")
    return value


@dataclass
class InstalledComponent:
    """A component on a device: as last reported, and the time of its last change."""

    reported: ReportedComponent
    changed: datetime
    seen: datetime
    source: str | None


@dataclass
class EffectiveDeployment:
    """A deployment on a device: as last reported, and the times of its first report and of its last change."""

    deployment: Deployment
    reported: ReportedDeployment
    created: datetime
    modified: datetime


@dataclass
class Core:
    """A core device, as it has reported."""

    thing: str
    report: StatusReport
    seen: datetime
    installed: dict[str, InstalledComponent] = field(default_factory=dict)
    effective: dict[str, EffectiveDeployment] = field(default_factory=dict)
    succeeded_targets: set[str] = field(default_factory=set)
    """The ARNs of those things and groups of which a deployment has succeeded here."""
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, Any]:
        return {
            "coreDeviceThingName": self.thing,
            "platform": self.report.platform,
            "architecture": self.report.architecture,
            "runtime": self.report.runtime,
            "status": self.report.status,
            "lastStatusUpdateTimestamp": self.seen,
        }


class Cores:
    """The core devices of one region."""

    def __init__(self, account_region: AccountRegion, clients: InternalClients, deployments: Deployments) -> None:
        self._account_region = account_region
        self._clients = clients
        self._deployments = deployments
        self._all: dict[str, Core] = {}

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "GetCoreDevice": self._get,
            "ListCoreDevices": self._list,
            "DeleteCoreDevice": self._delete,
            "ListInstalledComponents": self._installed,
            "ListEffectiveDeployments": self._effective,
        }

    def tags(self, thing: str) -> dict[str, str] | None:
        """The tags of a core device, as a mapping that the caller may change; None if there is no such device."""
        core = self._all.get(thing)
        return core.tags if core else None

    def take(self, thing: str, report: StatusReport) -> None:
        """Store a report. It is complete: a component that it does not name is no longer installed.

        Raises:
            ApiError: the reported deployment does not exist.
        """
        now = datetime.now(UTC)
        core = self._all.setdefault(thing, Core(thing, report, now))
        core.report, core.seen = report, now
        if report.deployment:
            self._progress(core, report.deployment, now)
        before = core.installed
        core.installed = {
            each.name: self._install(core, before.get(each.name), each, now) for each in report.components
        }

    def executions(self, deployment: Deployment) -> dict[str, str]:
        """The state that each member of a deployment's thing group has reported; QUEUED where it has not."""
        states = {}
        for thing in self._members(deployment.target.rpartition("/")[2]):
            core = self._all.get(thing)
            effective = core.effective.get(deployment.id) if core else None
            states[thing] = effective.reported.status if effective else "QUEUED"
        return states

    def _progress(self, core: Core, reported: ReportedDeployment, now: datetime) -> None:
        known = core.effective.get(reported.id)
        # A device continues to report a deployment that has been deleted in the cloud.
        deployment = known.deployment if known else self._deployments.find(reported.id)
        if deployment is None:
            raise ApiError("ValidationException", f"deployment {reported.id} does not exist")
        if known is None:
            core.effective[reported.id] = EffectiveDeployment(deployment, reported, now, now)
        elif known.reported != reported:
            known.reported, known.modified = reported, now
        if reported.status in SUCCEEDED:
            core.succeeded_targets.add(deployment.target)
        self._deployments.reported(deployment, reported.status)

    def _install(
        self, core: Core, before: InstalledComponent | None, reported: ReportedComponent, now: datetime
    ) -> InstalledComponent:
        same = before is not None and before.reported.state == reported.state
        source = reported.source or self._source(core, before, reported)
        return InstalledComponent(reported, before.changed if before and same else now, now, source)

    def _source(self, core: Core, before: InstalledComponent | None, reported: ReportedComponent) -> str | None:
        """The deployment that brought a component, of a device that does not report it.

        A deployment that changed nothing has not: the version is the one that was there, and it was not BROKEN.
        """
        if before and before.source and before.reported.version == reported.version:
            was_installed_again = before.reported.state == "BROKEN" != reported.state
            if not was_installed_again:
                return before.source
        naming = [each for each in core.effective.values() if reported.name in each.deployment.components]
        return max(naming, key=lambda each: each.created).deployment.id if naming else None

    def _get(self, params: Params) -> dict[str, Any]:
        core = self._at(params)
        return {**core.summary, "coreVersion": core.report.core_version, "tags": core.tags}

    def _list(self, params: Params) -> dict[str, Any]:
        """As documented, a group filters by what has succeeded on a device; who is a member now says nothing:
        https://docs.aws.amazon.com/greengrass/v2/APIReference/API_ListCoreDevices.html.
        """
        group = params.get("thingGroupArn")
        found = [
            core.summary
            for _, core in sorted(self._all.items())
            if (group is None or group in core.succeeded_targets)
            and params.get("status") in (None, core.report.status)
            and params.get("runtime") in (None, core.summary["runtime"])
        ]
        listed, token = page(found, params)
        return {"coreDevices": listed, "nextToken": token}

    def _delete(self, params: Params) -> None:
        del self._all[self._at(params).thing]

    def _installed(self, params: Params) -> dict[str, Any]:
        core = self._at(params)
        roots_only = params.get("topologyFilter", "ROOT") == "ROOT"
        found = [each for each in core.installed.values() if each.reported.is_root or not roots_only]
        listed, token = page(found, params)
        return {
            "installedComponents": [
                {
                    "componentName": each.reported.name,
                    "componentVersion": each.reported.version,
                    "lifecycleState": each.reported.state,
                    "lifecycleStateDetails": each.reported.details or None,
                    "isRoot": each.reported.is_root,
                    "lastStatusChangeTimestamp": each.changed,
                    "lastReportedTimestamp": each.seen,
                    "lastInstallationSource": each.source,
                    "lifecycleStatusCodes": list(each.reported.codes),
                }
                for each in listed
            ],
            "nextToken": token,
        }

    def _effective(self, params: Params) -> dict[str, Any]:
        found = sorted(self._at(params).effective.values(), key=lambda each: each.created, reverse=True)
        listed, token = page(found, params)
        return {
            "effectiveDeployments": [
                {
                    "deploymentId": each.deployment.id,
                    "deploymentName": each.deployment.name or "",
                    **each.deployment.iot_job(self._account_region),
                    "targetArn": each.deployment.target,
                    "coreDeviceExecutionStatus": each.reported.status,
                    "reason": each.reported.reason,
                    "creationTimestamp": each.created,
                    "modifiedTimestamp": each.modified,
                    "statusDetails": {
                        "errorStack": list(each.reported.error_stack),
                        "errorTypes": list(each.reported.error_types),
                    },
                }
                for each in listed
            ],
            "nextToken": token,
        }

    def _members(self, group: str) -> set[str]:
        """The things that a job for a group reaches: those of its child groups too."""
        try:
            pages: Iterable[dict[str, Any]] = (
                self._clients("iot")
                .get_paginator("list_things_in_thing_group")
                .paginate(thingGroupName=group, recursive=True)
            )
            return {thing for each in pages for thing in each["things"]}
        except ClientError:
            return set()

    def _at(self, params: Params) -> Core:
        thing = params["coreDeviceThingName"]
        if thing not in self._all:
            raise ApiError(
                "ResourceNotFoundException",
                f"Core device {thing} does not exist.",
                resourceId=thing,
                resourceType="coreDevice",
            )
        return self._all[thing]
