"""What `status` reads from AWS: core devices, the newest jobs, and when results last came.

- *Devices*: health, the deployment that a device took up last, and the components on it.
- *Jobs*: the newest compilation and packaging, found by the names that they may have.
- *Results* go over MQTT, which keeps nothing. So the last ones are known from captured data, from the agent's
  heartbeat to its fleet, or from what the application says about itself (`application_status`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import error_code, http_status, is_missing
from emflow.engine.scheduler import read_parallel
from emflow.resources.application_status import ApplicationStatus, read_application
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.greengrass.rollout import SUCCEEDED
from emflow.resources.ownership import WORKFLOW_TAG, Ownership, tags_as_mapping
from emflow.resources.sagemaker.jobs import is_name_of, name_stem
from emflow.workflow.model import Workflow

UNKNOWN = "UNKNOWN"
"""The health of a device that is unknown to Greengrass."""

UNHEALTHY_STATES = frozenset({"ERRORED", "BROKEN"})
"""States of a component that is not well."""

COMPILATION, PACKAGING = "compilation", "packaging"
"""Kinds of jobs."""

TIME_LEVELS = 4
"""Captures lie under folders for year, month, day and hour."""


@dataclass(frozen=True)
class ComponentStatus:
    """A component on a device. `state` is Greengrass's word; `root`: the deployment names it."""

    name: str
    version: str
    state: str
    details: str = ""
    since: datetime | None = None
    root: bool = True


@dataclass(frozen=True)
class DeviceDeployment:
    """The last deployment that a device took up. `latest`: whether it is the newest one of the workflow's target."""

    id: str
    name: str
    status: str
    reason: str = ""
    error_stack: tuple[str, ...] = ()
    error_types: tuple[str, ...] = ()
    since: datetime | None = None
    latest: bool = False


@dataclass(frozen=True)
class DeviceStatus:
    """One core device.

    runtime: the nucleus, as Greengrass names it: `aws_nucleus_classic` or `aws_nucleus_lite`.
    detailed: whether its deployment, its components and its application were asked for.
    """

    thing: str
    health: str
    heard: datetime | None = None
    core_version: str = ""
    platform: str = ""
    runtime: str = ""
    deployment: DeviceDeployment | None = None
    components: tuple[ComponentStatus, ...] = ()
    application: ApplicationStatus | None = None
    detailed: bool = True

    @property
    def well(self) -> bool:
        """Healthy, with the latest deployment taken up, no component in an error state, and results as they should.

        One whose details were not read is judged by its health alone (`detailed`).
        """
        taken = self.deployment is not None and self.deployment.latest and self.deployment.status in SUCCEEDED
        unhealthy = any(component.state in UNHEALTHY_STATES for component in self.components)
        warned = self.application is not None and bool(self.application.warnings)
        return self.health == "HEALTHY" and (taken or not self.detailed) and not unhealthy and not warned


def read_device(clients: Clients, thing: str) -> DeviceStatus:
    """One device, without its deployment and components."""
    get = clients("greengrassv2").get_core_device
    core = none_if_missing(lambda: get(coreDeviceThingName=thing))
    return as_device(core) if core else DeviceStatus(thing, UNKNOWN, detailed=False)


def as_device(core: Mapping[str, Any]) -> DeviceStatus:
    """A core device as GetCoreDevice or ListCoreDevices describes it; the latter says no `core_version`."""
    return DeviceStatus(
        thing=core["coreDeviceThingName"],
        health=core["status"],
        heard=core.get("lastStatusUpdateTimestamp"),
        core_version=core.get("coreVersion") or "",
        platform=" ".join(filter(None, (core.get("platform"), core.get("architecture")))),
        runtime=core.get("runtime") or "",
        detailed=False,
    )


def with_details(workflow: Workflow, clients: Clients, device: DeviceStatus, latest: str) -> DeviceStatus:
    """The same device, with its deployment, its components and its application."""
    if device.health == UNKNOWN:
        return DeviceStatus(device.thing, UNKNOWN)
    found: dict[str, Any] = read_parallel(
        {
            "deployment": partial(_last_deployment, clients, device.thing, latest),
            "components": partial(_installed_components, clients, device.thing),
            "core": partial(read_device, clients, device.thing) if not device.core_version else lambda: device,
            "application": partial(read_application, workflow, clients, device.thing, device.runtime),
        }
    )
    core: DeviceStatus = found["core"]
    parts = {part: found[part] for part in ("deployment", "components", "application")}
    return replace(core, **parts, detailed=True)


def _last_deployment(clients: Clients, thing: str, latest: str) -> DeviceDeployment | None:
    """The target's latest deployment on this device; where it has not arrived, what the device took up last."""
    pages = clients("greengrassv2").get_paginator("list_effective_deployments").paginate(coreDeviceThingName=thing)
    listed = [deployment for page in pages for deployment in page["effectiveDeployments"]]
    if not listed:
        return None
    newest = max(listed, key=lambda deployment: deployment["modifiedTimestamp"])
    found = next((each for each in listed if each["deploymentId"] == latest), newest)
    details = found.get("statusDetails") or {}
    return DeviceDeployment(
        id=found["deploymentId"],
        name=found.get("deploymentName") or "",
        status=found["coreDeviceExecutionStatus"],
        reason=found.get("reason") or "",
        error_stack=tuple(details.get("errorStack") or ()),
        error_types=tuple(details.get("errorTypes") or ()),
        since=found.get("modifiedTimestamp"),
        latest=found["deploymentId"] == latest,
    )


def _installed_components(clients: Clients, thing: str) -> tuple[ComponentStatus, ...]:
    pages = (
        clients("greengrassv2")
        .get_paginator("list_installed_components")
        .paginate(coreDeviceThingName=thing, topologyFilter="ALL")
    )
    try:
        listed = [component for page in pages for component in page["installedComponents"]]
    except ClientError as error:
        if is_missing(error):
            return ()
        raise
    return tuple(
        ComponentStatus(
            name=component["componentName"],
            version=component["componentVersion"],
            state=component["lifecycleState"],
            details=component.get("lifecycleStateDetails") or "",
            since=component.get("lastStatusChangeTimestamp"),
            root=component.get("isRoot", True),
        )
        for component in sorted(listed, key=lambda component: component["componentName"])
    )


@dataclass(frozen=True)
class JobStatus:
    """One job. `kind`: `compilation` or `packaging`; `reason` is AWS's own, where it gives one."""

    kind: str
    name: str
    status: str
    reason: str = ""
    created: datetime | None = None
    changed: datetime | None = None


def newest_jobs(workflow: Workflow, clients: Clients) -> tuple[JobStatus, ...]:
    """The newest compilation and the newest packaging of a workflow, as far as there are any."""
    ownership = Ownership(workflow.metadata.name, "", region=workflow.aws.region)
    reads: dict[str, Callable[[], JobStatus | None]] = {
        COMPILATION: lambda: _compilation(clients, workflow.cloud.compile.job, ownership),
        PACKAGING: lambda: _packaging(clients, workflow.cloud.package.job, ownership),
    }
    return tuple(job for job in read_parallel(reads).values() if job)


def _compilation(clients: Clients, base: str, ownership: Ownership) -> JobStatus | None:
    sagemaker = clients("sagemaker")
    name = _newest(clients, "list_compilation_jobs", "CompilationJob", "CreationTime", base, ownership)
    if not name:
        return None
    job = sagemaker.describe_compilation_job(CompilationJobName=name)
    return JobStatus(
        COMPILATION,
        name,
        job["CompilationJobStatus"],
        job.get("FailureReason", ""),
        job.get("CreationTime"),
        job.get("LastModifiedTime"),
    )


def _packaging(clients: Clients, base: str, ownership: Ownership) -> JobStatus | None:
    sagemaker = clients("sagemaker")
    name = _newest(clients, "list_edge_packaging_jobs", "EdgePackagingJob", "CREATION_TIME", base, ownership)
    if not name:
        return None
    job = sagemaker.describe_edge_packaging_job(EdgePackagingJobName=name)
    preset: Mapping[str, Any] = job.get("PresetDeploymentOutput") or {}
    reasons = (job.get("EdgePackagingJobStatusMessage"), preset.get("StatusMessage"))
    return JobStatus(
        PACKAGING,
        name,
        job["EdgePackagingJobStatus"],
        "; ".join(reason for reason in reasons if reason),
        job.get("CreationTime"),
        job.get("LastModifiedTime"),
    )


def _newest(clients: Clients, call: str, kind: str, by_time: str, base: str, ownership: Ownership) -> str:
    """The name of the newest job under one of the names that the workflow's jobs have; empty when there is none.

    Another workflow's job may have such a name too; it says in its tags whose it is.

    Args:
        kind: how the members of the answer are called.
        by_time: how this call names the order.
    """
    sagemaker = clients("sagemaker")
    pages = sagemaker.get_paginator(call).paginate(
        NameContains=name_stem(base), SortBy=by_time, SortOrder="Descending", PaginationConfig={"PageSize": 100}
    )
    for page in pages:
        for job in page[f"{kind}Summaries"]:
            name = str(job[f"{kind}Name"])
            if is_name_of(name, base) and not _made_by_another(sagemaker, job[f"{kind}Arn"], ownership):
                return name
    return ""


def _made_by_another(sagemaker: Any, arn: str, ownership: Ownership) -> bool:
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    tags = tags_as_mapping([tag for page in pages for tag in page["Tags"]])
    return WORKFLOW_TAG in tags and not ownership.owns(tags)


@dataclass(frozen=True)
class LastResults:
    """`source` says how it is known."""

    time: datetime
    source: str


def last_results(workflow: Workflow, clients: Clients) -> LastResults | None:
    """The latest that is known; None when nothing is."""
    reads: dict[str, Callable[[], LastResults | None]] = {
        "captures": lambda: _captured(workflow, clients),
        "fleet": lambda: _heartbeat(workflow, clients),
    }
    return newest(read_parallel(reads).values())


def newest(found: Iterable[LastResults | None]) -> LastResults | None:
    return max(filter(None, found), key=lambda each: each.time, default=None)


def results_of_application(device: DeviceStatus) -> LastResults | None:
    """The last result that a device's application says it had."""
    time = device.application.last_result if device.application else None
    return LastResults(time, f"status of the application on {device.thing}") if time else None


def _captured(workflow: Workflow, clients: Clients) -> LastResults | None:
    """The time of the newest captured object: it is in the last folder of each level, because folders are times."""
    s3, bucket = clients("s3"), workflow.cloud.buckets.inference_results.name
    top = f"{workflow.edge.capture.prefix.strip('/')}/{workflow.cloud.fleet.name}/{workflow.cloud.model.name}/"
    prefix = top
    try:
        for _ in range(TIME_LEVELS):
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
            folders = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", [])]
            folders = [each for each in folders if each.removeprefix(prefix).rstrip("/").isdigit()]
            if not folders:
                return None
            prefix = max(folders)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        times = [each["LastModified"] for page in pages for each in page.get("Contents", [])]
    except ClientError as error:
        if is_missing(error) or http_status(error) == 403:
            return None
        raise
    return LastResults(max(times), f"captures in s3://{bucket}/{top}") if times else None


def _heartbeat(workflow: Workflow, clients: Clients) -> LastResults | None:
    """The last inference that the agent reported to its fleet, where the target is one device."""
    thing = workflow.cloud.deployment.target.thing
    if not thing:
        return None
    fleet = workflow.cloud.fleet.name
    try:
        device: dict[str, Any] = clients("sagemaker").describe_device(DeviceName=thing, DeviceFleetName=fleet)
    except ClientError as error:
        if is_missing(error) or error_code(error) in {"UnknownOperationException", "AccessDeniedException"}:
            return None
        raise
    times = [model["LatestInference"] for model in device.get("Models") or () if model.get("LatestInference")]
    return LastResults(max(times), f"heartbeat of the agent to fleet {fleet}") if times else None
