"""One core device: its health, the deployment that it took up last, and the components on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import missing
from emflow.engine.work import together
from emflow.resources.greengrass.rollout import SUCCEEDED

UNKNOWN = "UNKNOWN"
"""The health of a device that Greengrass has never heard of."""

AILING = frozenset({"ERRORED", "BROKEN"})
"""States of a component that is not well."""


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
    """One core device. `detailed`: whether its deployment and components were asked for."""

    thing: str
    health: str
    heard: datetime | None = None
    core_version: str = ""
    platform: str = ""
    deployment: DeviceDeployment | None = None
    components: tuple[ComponentStatus, ...] = ()
    detailed: bool = True

    @property
    def well(self) -> bool:
        """Healthy, with the latest deployment taken and no component in trouble."""
        taken = self.deployment is not None and self.deployment.latest and self.deployment.status in SUCCEEDED
        ailing = any(component.state in AILING for component in self.components)
        return self.health == "HEALTHY" and (taken or not self.detailed) and not ailing


def read_device(clients: Clients, thing: str) -> DeviceStatus:
    """One device, without its deployment and components."""
    try:
        core = clients("greengrassv2").get_core_device(coreDeviceThingName=thing)
    except ClientError as error:
        if missing(error):
            return DeviceStatus(thing, UNKNOWN, detailed=False)
        raise
    return DeviceStatus(
        thing=thing,
        health=core["status"],
        heard=core.get("lastStatusUpdateTimestamp"),
        core_version=core.get("coreVersion") or "",
        platform=platform(core),
        detailed=False,
    )


def platform(core: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (core.get("platform"), core.get("architecture"))))


def detailed(clients: Clients, device: DeviceStatus, latest: str) -> DeviceStatus:
    """The same device, with its deployment and components."""
    if device.health == UNKNOWN:
        return DeviceStatus(device.thing, UNKNOWN)
    found: dict[str, Any] = together(
        {
            "deployment": partial(_effective, clients, device.thing, latest),
            "components": partial(_components, clients, device.thing),
            "core": partial(read_device, clients, device.thing) if not device.core_version else lambda: device,
        }
    )
    core: DeviceStatus = found["core"]
    return replace(core, deployment=found["deployment"], components=found["components"], detailed=True)


def _effective(clients: Clients, thing: str, latest: str) -> DeviceDeployment | None:
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


def _components(clients: Clients, thing: str) -> tuple[ComponentStatus, ...]:
    pages = (
        clients("greengrassv2")
        .get_paginator("list_installed_components")
        .paginate(coreDeviceThingName=thing, topologyFilter="ALL")
    )
    try:
        listed = [component for page in pages for component in page["installedComponents"]]
    except ClientError as error:
        if missing(error):
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
