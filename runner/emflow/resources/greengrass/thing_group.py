"""The members of a thing group, and those of them that are core devices.

ListCoreDevices with `thingGroupArn` does not list members: it lists the devices on which a deployment to the group has
succeeded, even after they have left the group
(https://docs.aws.amazon.com/greengrass/v2/APIReference/API_ListCoreDevices.html). So it only saves calls here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from emflow.engine.clients import Clients
from emflow.engine.scheduler import read_parallel
from emflow.resources.aws_calls import none_if_missing

PAGE = 250
"""Members of a thing group in one answer; AWS's maximum."""

CORES_PAGE = 100
"""Core devices in one answer; AWS's maximum."""

MOST_SINGLE = 50
"""Members that are asked for one by one. For more of them, all core devices of the region are listed."""


def group_members(clients: Clients, group: str) -> list[str]:
    """The names of all things in a group and in its child groups, as they are now; empty where there is no group."""
    pages = (
        clients("iot")
        .get_paginator("list_things_in_thing_group")
        .paginate(thingGroupName=group, recursive=True, PaginationConfig={"PageSize": PAGE})
    )
    return none_if_missing(lambda: list(dict.fromkeys(thing for page in pages for thing in page["things"]))) or []


def group_cores(clients: Clients, group: str) -> dict[str, Mapping[str, Any] | None]:
    """What Greengrass says of each member of a group, as of GetCoreDevice; None for one that is no core device.

    Those on which no deployment to the group has succeeded are looked for one by one, or, where there are many, in the
    list of all core devices. So 10,000 members take about 140 calls, and 200 before the first deployment.
    """
    members = group_members(clients, group)
    cores: dict[str, Mapping[str, Any] | None] = dict.fromkeys(members)
    if members:
        arn = clients.arn("iot", f"thinggroup/{group}")
        _take(cores, none_if_missing(lambda: list(_listed(clients, thingGroupArn=arn))) or [])
    missing = [thing for thing, core in cores.items() if core is None]
    if len(missing) <= MOST_SINGLE:
        cores |= read_parallel({thing: partial(_core, clients, thing) for thing in missing})
    else:
        _take(cores, _listed(clients))
    return cores


def _take(cores: dict[str, Mapping[str, Any] | None], listed: Iterable[Mapping[str, Any]]) -> None:
    for core in listed:
        if core["coreDeviceThingName"] in cores:
            cores[core["coreDeviceThingName"]] = core


def _listed(clients: Clients, **which: str) -> Iterator[Mapping[str, Any]]:
    pages = clients("greengrassv2").get_paginator("list_core_devices")
    for page in pages.paginate(**which, PaginationConfig={"PageSize": CORES_PAGE}):
        yield from page["coreDevices"]


def _core(clients: Clients, thing: str) -> Mapping[str, Any] | None:
    get = clients("greengrassv2").get_core_device
    return none_if_missing(lambda: get(coreDeviceThingName=thing))
