"""The Greengrass core devices of a workflow, as far as Greengrass's cloud side knows them: only ever removed, and only
when the user says so.

Their IoT things, certificates and the software on them stay. A device that still runs reports again, and is then known
again: https://docs.aws.amazon.com/greengrass/v2/APIReference/API_DeleteCoreDevice.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from emflow.engine.clients import Clients
from emflow.engine.resource import Action, Diff, Inputs, Observed, Outputs, Run
from emflow.engine.work import together
from emflow.resources.answers import unless_missing
from emflow.workflow.model import Target

AT_ONCE = 16
"""How many devices are asked after side by side."""


@dataclass(frozen=True)
class CoreDevices:
    """The core device that a workflow deploys to, or all of a thing group."""

    target: Target

    @property
    def id(self) -> str:
        return "device/core"

    @property
    def name(self) -> str:
        return self.target.thing or f"every core device of {self.target.thing_group}"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    def observe(self, clients: Clients) -> Observed | None:
        greengrass, found = clients("greengrassv2"), list[str]()
        things = self._things(clients)
        for start in range(0, len(things), AT_ONCE):
            reads = {
                thing: partial(unless_missing, partial(greengrass.get_core_device, coreDeviceThingName=thing))
                for thing in things[start : start + AT_ONCE]
            }
            found += [thing for thing, there in together(reads).items() if there]
        return {"cores": found} if found else None

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        return Diff(Action.NONE)

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: Run) -> Outputs:
        return {}

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        return None

    def delete(self, clients: Clients, run: Run) -> None:
        greengrass, found = clients("greengrassv2"), self.observe(clients)
        for thing in found["cores"] if found else ():
            unless_missing(partial(greengrass.delete_core_device, coreDeviceThingName=thing))

    def _things(self, clients: Clients) -> list[str]:
        if self.target.thing:
            return [self.target.thing]
        pages = (
            clients("iot").get_paginator("list_things_in_thing_group").paginate(thingGroupName=self.target.thing_group)
        )
        return unless_missing(lambda: [thing for page in pages for thing in page["things"]]) or []
