"""Leftovers on devices and in Greengrass: deployments to earlier targets, components that the workflow dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from emflow.engine.clients import Clients
from emflow.engine.resource import Run
from emflow.engine.work import together
from emflow.resources import components
from emflow.resources.greengrass import revision
from emflow.resources.ownership import DEPLOYMENT, Mark
from emflow.resources.prune import Left, tagged, used_by_others

RIGHT = "tag:GetResources"


@dataclass(frozen=True)
class OldTargets:
    """Targets that the workflow was deployed to earlier. `target`: today's, such as `thing/core-1`."""

    target: str
    mark: Mark

    @property
    def right(self) -> str:
        return RIGHT

    def find(self, clients: Clients) -> Mapping[str, Left]:
        made = tagged(clients, "greengrass", self.mark, [DEPLOYMENT])
        targets = {tags.get(revision.TARGET_TAG, self.target) for tags in made.values()} - {self.target}
        found = together({target: partial(self._left, clients, target) for target in sorted(targets)})
        return {target: left for target, left in found.items() if left}

    def remove(self, clients: Clients, name: str, run: Run) -> None:
        revision.take_out(clients, name, self.mark)

    def _left(self, clients: Clients, target: str) -> Left | None:
        arn = clients.arn("iot", target)
        latest = revision.latest_deployment(clients, arn)
        there = latest["components"] if latest else {}
        put = revision.components_we_put(clients, arn, latest, self.mark) & there.keys()
        # A thing that is gone takes no deployment, and runs nothing.
        if not put or not revision.known(clients, target):
            return None
        versions = {name: there[name]["componentVersion"] for name in sorted(put)}
        notes = [f"removes {name} {version} from the devices of {target}" for name, version in versions.items()]
        notes += [f"keeps {name} on {target}, which is not in this workflow" for name in sorted(there.keys() - put)]
        return Left(", ".join(f"{name} {version}" for name, version in versions.items()), tuple(notes))


@dataclass(frozen=True)
class OldComponents:
    """Components whose names the workflow no longer has. `names`: those that it has."""

    names: frozenset[str]
    mark: Mark

    @property
    def right(self) -> str:
        return RIGHT

    def find(self, clients: Clients) -> Mapping[str, Left]:
        listed = [components.name_and_version(arn) for arn in tagged(clients, "greengrass", self.mark)]
        versions: dict[str, list[str]] = {}
        for name, version in listed:
            if name and name not in self.names:
                versions.setdefault(name, []).append(version)
        if not versions:
            return {}
        ours = together({name: partial(components.ours, clients, name, self.mark) for name in sorted(versions)})
        used = used_by_others(clients, self.mark, ours)
        return {
            name: Left(", ".join(found), kept=f"{used[name]} deploys it too" if name in used else None)
            for name, found in ours.items()
            if found
        }

    def remove(self, clients: Clients, name: str, run: Run) -> None:
        components.delete_ours(clients, name, self.mark)
