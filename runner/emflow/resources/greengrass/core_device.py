"""The kind `core devices`: the target's core devices as Greengrass lists them; only removed, and only on request.

Their IoT things, certificates and the software on them stay. A device that still runs reports again, and is then listed
again: https://docs.aws.amazon.com/greengrass/v2/APIReference/API_DeleteCoreDevice.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from emflow.engine.clients import Clients
from emflow.engine.resource import REMOVABLE, FieldLabel, Observed, Retention, RunContext
from emflow.engine.scheduler import read_parallel
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.workflow.model import Target


@dataclass(frozen=True)
class CoreDevices:
    """The core device that a workflow deploys to, or all of a thing group."""

    target: Target

    id: ClassVar[str] = "device/core"
    needs: ClassVar[frozenset[str]] = frozenset()
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {}

    @property
    def name(self) -> str:
        return self.target.thing or f"every core device of {self.target.thing_group}"

    def observe(self, clients: Clients) -> Observed | None:
        greengrass = clients("greengrassv2")
        there = read_parallel(
            {
                thing: partial(none_if_missing, partial(greengrass.get_core_device, coreDeviceThingName=thing))
                for thing in self._things(clients)
            }
        )
        found = [thing for thing, core in there.items() if core]
        return {"cores": found} if found else None

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        return REMOVABLE

    def delete(self, clients: Clients, run: RunContext) -> None:
        greengrass, found = clients("greengrassv2"), self.observe(clients)
        for thing in found["cores"] if found else ():
            none_if_missing(partial(greengrass.delete_core_device, coreDeviceThingName=thing))

    def _things(self, clients: Clients) -> list[str]:
        if self.target.thing:
            return [self.target.thing]
        pages = (
            clients("iot").get_paginator("list_things_in_thing_group").paginate(thingGroupName=self.target.thing_group)
        )
        return none_if_missing(lambda: [thing for page in pages for thing in page["things"]]) or []


def _removable(context: BuildContext) -> Iterator[CoreDevices]:
    if context.delete_core_devices:
        yield CoreDevices(context.workflow.cloud.deployment.target)


KIND = ResourceKind(removable=_removable)
