"""Leftovers beside the devices: fleets, role aliases, roles and buckets that the workflow no longer names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from emflow.engine.clients import Clients
from emflow.engine.resource import Run
from emflow.engine.work import together
from emflow.resources.answers import unless_missing
from emflow.resources.iam.role import Role, RoleName
from emflow.resources.iam.role_alias import RoleAlias
from emflow.resources.leftover_rollouts import RIGHT
from emflow.resources.ownership import COMPONENTS_BUCKET, FLEET, RESULTS_BUCKET, ROLE_ALIAS, by_key
from emflow.resources.prune import Left, tagged
from emflow.resources.s3.bucket import Bucket
from emflow.resources.sagemaker.devices import Devices
from emflow.resources.sagemaker.fleet import Fleet


@dataclass(frozen=True)
class OldFleets:
    """Fleets of ours, with our devices in them. `fleet` and `devices`: today's."""

    fleet: Fleet
    devices: Devices

    @property
    def right(self) -> str:
        return RIGHT

    def find(self, clients: Clients) -> Mapping[str, Left]:
        made = {_name(arn) for arn in tagged(clients, "sagemaker", self.fleet.mark, [FLEET])} - {self.fleet.name}
        found = together({name: partial(self._left, clients, name) for name in sorted(made)})
        return {name: left for name, left in found.items() if left}

    def remove(self, clients: Clients, name: str, run: Run) -> None:
        fleet, devices = self._at(name)
        devices.delete(clients, run)
        if not devices.of_others(clients):
            fleet.delete(clients, run)

    def _at(self, name: str) -> tuple[Fleet, Devices]:
        return replace(self.fleet, name=name, devices=None), replace(self.devices, fleet=name, named=())

    def _left(self, clients: Clients, name: str) -> Left | None:
        fleet, devices = self._at(name)
        found = fleet.observe(clients)
        if not found or not fleet.mark.is_on(found["tags"]):
            return None
        listed = devices.registered(clients)
        ours = sum(each["ours"] for each in listed.values())
        others = [device for device, each in listed.items() if not each["ours"]]
        if not others:
            return Left(f"the fleet, and {ours} devices in it")
        why = f"others registered devices in it: {', '.join(others[:5])}"
        return Left(f"{ours} devices", (f"fleet {name} stays: {why}",)) if ours else Left("the fleet", kept=why)


@dataclass(frozen=True)
class OldRoleAliases:
    """Role aliases of ours. `alias`: today's."""

    alias: RoleAlias

    @property
    def right(self) -> str:
        return RIGHT

    def find(self, clients: Clients) -> Mapping[str, Left]:
        made = {_name(arn) for arn in tagged(clients, "iot", self.alias.mark, [ROLE_ALIAS])} - {self.alias.name}
        found = together({name: partial(self._left, clients, name) for name in sorted(made)})
        return {name: left for name, left in found.items() if left}

    def remove(self, clients: Clients, name: str, run: Run) -> None:
        replace(self.alias, name=name).delete(clients, run)

    def _left(self, clients: Clients, name: str) -> Left | None:
        alias = replace(self.alias, name=name)
        found = alias.observe(clients)
        if not found or not alias.mark.is_on(found["tags"]):
            return None
        notes = (f"devices that are configured with role alias {name} lose their credentials",)
        return Left(f"the alias of {found['role']}", notes, alias.kept(found, delete_data=False))


@dataclass(frozen=True)
class OldRoles:
    """Roles of ours; the tagging API does not know roles, so they are found by their description. `role`: today's."""

    role: Role

    @property
    def right(self) -> str:
        return "iam:ListRoles"

    def find(self, clients: Clients) -> Mapping[str, Left]:
        pages = clients("iam").get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 1000})
        listed = {
            role["RoleName"]
            for page in pages
            for role in page["Roles"]
            if role.get("Description") == self.role.description
        }
        listed -= {self.role.role.find(clients)}
        found = together({name: partial(self._left, clients, name) for name in sorted(listed)})
        return {name: left for name, left in found.items() if left}

    def remove(self, clients: Clients, name: str, run: Run) -> None:
        self._at(name).delete(clients, run)

    def _at(self, name: str) -> Role:
        return replace(self.role, role=RoleName(name))

    def _left(self, clients: Clients, name: str) -> Left | None:
        role = self._at(name)
        found = role.observe(clients)
        if not found or not role.mark.is_on(found["tags"]):
            return None
        return Left("the role", kept=role.kept(found, delete_data=False))


@dataclass(frozen=True)
class OldBuckets:
    """Buckets of ours. `buckets`: today's two."""

    buckets: tuple[Bucket, ...]

    @property
    def right(self) -> str:
        return RIGHT

    def find(self, clients: Clients) -> Mapping[str, Left]:
        s3, one = clients("s3"), self.buckets[0]
        made = tagged(clients, "s3", one.mark, [COMPONENTS_BUCKET, RESULTS_BUCKET])
        names = {arn.rpartition(":")[2] for arn in made} - {bucket.name for bucket in self.buckets}
        tags = together(
            {
                name: partial(unless_missing, partial(lambda name: s3.get_bucket_tagging(Bucket=name)["TagSet"], name))
                for name in sorted(names)
            }
        )
        return {
            f"bucket {name}": Left("the bucket") for name, has in tags.items() if has and one.mark.is_on(by_key(has))
        }

    def remove(self, clients: Clients, name: str, run: Run) -> None:
        replace(self.buckets[0], name=name.removeprefix("bucket ")).delete(clients, run)


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]
