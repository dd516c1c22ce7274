"""The status of a workflow: the devices' health, what they run, the jobs behind it, and when results last came.

It only reads, so a workflow that was never applied has a status too. Of a large thing group the health of every device
is read, and the details of those that are not healthy first, of so many as are asked for. A device whose details were
not read is not known to be well, and neither is then the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from emflow.engine.cancellation import Cancellation, Cancelled, Interrupted
from emflow.engine.clients import Clients
from emflow.engine.scheduler import run_parallel
from emflow.problems import Problem
from emflow.resources.greengrass.deployment_records import latest_deployment
from emflow.resources.greengrass.rollout import FAILED_STATES
from emflow.resources.greengrass.thing_group import group_cores
from emflow.resources.status_queries import (
    UNKNOWN,
    DeviceStatus,
    JobStatus,
    LastResults,
    as_device,
    last_results,
    newest,
    newest_jobs,
    read_device,
    results_of_application,
    with_details,
)
from emflow.workflow.model import Workflow

T = TypeVar("T")
FORMAT = "emflow.status/v1"
MAX_DETAILED = 50
"""Devices whose details are read, where no other number is asked for."""


@dataclass(frozen=True)
class LatestDeployment:
    """The latest deployment of the workflow's target."""

    id: str
    name: str
    status: str
    created: datetime | None = None


@dataclass(frozen=True)
class Status:
    """All of it, at one time."""

    workflow: str
    target: str
    at: datetime
    deployment: LatestDeployment | None = None
    devices: tuple[DeviceStatus, ...] = ()
    jobs: tuple[JobStatus, ...] = ()
    last_results: LastResults | None = None
    format: str = field(default=FORMAT, init=False)

    @property
    def well(self) -> bool:
        """Deployed, and every device was looked at and is well."""
        deployed = self.deployment is not None and self.deployment.status not in FAILED_STATES
        return deployed and bool(self.devices) and all(device.detailed and device.well for device in self.devices)

    @property
    def looked_at(self) -> int:
        """The devices whose details were read."""
        return sum(device.detailed for device in self.devices)


def read_status(
    workflow: Workflow, clients: Clients, cancellation: Cancellation | None = None, *, most_devices: int = MAX_DETAILED
) -> Status:
    """Look at AWS.

    Args:
        cancellation: ends it early when requested, without waiting for answers.
        most_devices: of how many devices the details are read.

    Raises:
        Problem: something could not be read.
        Interrupted: `cancellation` was asked for.
    """
    target = workflow.cloud.deployment.target
    found: dict[str, Any] = {}

    def look(name: str, read: Callable[[], object]) -> None:
        found[name] = read()

    reads = {
        "deployment": lambda: latest_deployment(clients, clients.arn("iot", target.arn_suffix)),
        "devices": lambda: _healths(workflow, clients),
        "jobs": lambda: newest_jobs(workflow, clients),
        "results": lambda: last_results(workflow, clients),
    }
    _each(lambda name: look(name, reads[name]), reads, cancellation)
    latest = found["deployment"]
    devices: list[DeviceStatus] = found["devices"]
    unhealthy_first = sorted(devices, key=lambda device: device.health == "HEALTHY")
    details: dict[str, DeviceStatus] = {}

    def detail(device: DeviceStatus) -> None:
        details[device.thing] = with_details(workflow, clients, device, latest["deploymentId"] if latest else "")

    _each(detail, unhealthy_first[:most_devices], cancellation)
    devices = [details.get(device.thing, device) for device in devices]
    return Status(
        workflow=workflow.metadata.name,
        target=target.arn_suffix,
        at=datetime.now(UTC),
        deployment=_latest_deployment(latest),
        devices=tuple(devices),
        jobs=found["jobs"],
        last_results=newest([found["results"], *map(results_of_application, devices)]),
    )


def _each(read: Callable[[T], object], items: Iterable[T], cancellation: Cancellation | None) -> None:
    try:
        problems = run_parallel(read, items, cancellation)
    except Cancelled:
        raise Interrupted(cancellation or Cancellation(), mend="Nothing was changed.") from None
    if problems:
        raise Problem("\n".join(str(problem) for problem in problems))


def _latest_deployment(latest: Mapping[str, Any] | None) -> LatestDeployment | None:
    if latest is None:
        return None
    return LatestDeployment(
        latest["deploymentId"],
        latest.get("deploymentName") or "",
        latest["deploymentStatus"],
        latest.get("creationTimestamp"),
    )


def _healths(workflow: Workflow, clients: Clients) -> list[DeviceStatus]:
    """Every device of the target, those of child groups too, with its health."""
    target = workflow.cloud.deployment.target
    if target.thing:
        return [read_device(clients, target.thing)]
    cores = group_cores(clients, target.thing_group or "")
    return [_health(thing, core) for thing, core in cores.items()]


def _health(thing: str, core: Mapping[str, Any] | None) -> DeviceStatus:
    return as_device(core) if core else DeviceStatus(thing, UNKNOWN, detailed=False)
