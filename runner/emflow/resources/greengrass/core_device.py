"""The kind `core devices`: the core devices that the target has at this moment; only removed, and only on request.

Their IoT things, certificates and the software on them stay. A device that still runs reports again, and is then listed
again: https://docs.aws.amazon.com/greengrass/v2/APIReference/API_DeleteCoreDevice.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from emflow.engine.clients import Clients
from emflow.engine.resource import REMOVABLE, FieldLabel, Observed, Retention, RunContext
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.greengrass.thing_group import group_cores
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.workflow.model import Target


@dataclass(frozen=True)
class CoreDevices:
    """The core device that a workflow deploys to, or all of a thing group.

    Args:
        planned: the things that a plan of `destroy` has found; None before there is one.
    """

    target: Target
    planned: frozenset[str] | None = None

    id: ClassVar[str] = "device/core"
    needs: ClassVar[frozenset[str]] = frozenset()
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {}

    @property
    def name(self) -> str:
        return self.target.thing or f"every core device of {self.target.thing_group}"

    def observe(self, clients: Clients) -> Observed | None:
        found = self._of_group(clients) if self.target.thing_group else self._of_thing(clients)
        return {"cores": found} if found else None

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        return REMOVABLE

    def as_planned(self, observed: Observed) -> CoreDevices:
        return replace(self, planned=frozenset(observed["cores"]))

    def delete(self, clients: Clients, run: RunContext) -> None:
        # A second look: what has left the group since the plan is no device of it any more, and what has joined it was
        # not agreed to.
        greengrass, found = clients("greengrassv2"), self.observe(clients)
        for thing in found["cores"] if found else ():
            if self.planned is None or thing in self.planned:
                run.pause(0)
                none_if_missing(partial(greengrass.delete_core_device, coreDeviceThingName=thing))

    def _of_thing(self, clients: Clients) -> list[str]:
        thing = self.target.thing
        get = partial(clients("greengrassv2").get_core_device, coreDeviceThingName=thing)
        return [thing] if thing and none_if_missing(get) else []

    def _of_group(self, clients: Clients) -> list[str]:
        cores = group_cores(clients, self.target.thing_group or "")
        return [thing for thing, core in cores.items() if core]


def _removable(context: BuildContext) -> Iterator[CoreDevices]:
    if context.delete_core_devices:
        yield CoreDevices(context.workflow.cloud.deployment.target)


KIND = ResourceKind(removable=_removable)
