"""What earlier applies of a workflow made and the workflow no longer has: found by its mark, shown, and removed.

There is no record of what a workflow once said. So what it left (an old target, a component that was dropped, a renamed
fleet) is found by the tags on it, with one call for each kind, however much there is in the account:
https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html. That list may be seconds
old; so everything in it is looked at once more before anybody is told. Data stays, and is told of, until `destroy
--delete-data`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError

from emflow.engine.clients import Clients
from emflow.engine.errors import error_code, http_status
from emflow.engine.resource import DETAILS, Action, Change, Diff, Inputs, Observed, Outputs, RunContext
from emflow.engine.scheduler import read_parallel
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.greengrass import component_version, revision
from emflow.resources.iam.role import Role, RoleName
from emflow.resources.iam.role_alias import RoleAlias
from emflow.resources.ownership import (
    COMPONENTS_BUCKET,
    DATA,
    DEPLOYMENT,
    FLEET,
    RESOURCE_TAG,
    RESULTS_BUCKET,
    ROLE_ALIAS,
    WORKFLOW_TAG,
    Ownership,
    tags_as_mapping,
)
from emflow.resources.s3.bucket import Bucket
from emflow.resources.sagemaker.devices import Devices
from emflow.resources.sagemaker.fleet import Fleet

REFUSED = frozenset({"AccessDenied", "AccessDeniedException", "UnknownOperationException", "UnknownService"})
"""Codes of an account that may not look, or of an endpoint that cannot."""


@dataclass(frozen=True)
class Left:
    """Something that an earlier apply left.

    Args:
        was: what there is of it, for people.
        notes: what people should know before it goes.
        kept: why it stays; None when it goes.
    """

    was: str
    notes: tuple[str, ...] = ()
    kept: str | None = None


class Kind(Protocol):
    """How one kind of leftovers is found, and removed."""

    @property
    def right(self) -> str:
        """What has to be allowed to find them, such as `tag:GetResources`."""

    def find(self, clients: Clients) -> Mapping[str, Left]:
        """What there is, by name."""

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        """Remove one of them. Nothing to do is success."""


@dataclass(frozen=True)
class Leftovers:
    """All leftovers of one kind. `data`: they hold data, so only `destroy --delete-data` removes them."""

    id: str
    name: str
    kind: Kind
    needs: frozenset[str] = field(default_factory=frozenset)
    data: bool = False

    def observe(self, clients: Clients) -> Observed | None:
        try:
            found = self.kind.find(clients)
        except (EndpointConnectionError, ConnectTimeoutError):
            # A private network may have no way to a service that nothing else here needs.
            return {"found": {}, "unseen": f"cannot be looked for: no way to {self.kind.right} from here"}
        except ClientError as error:
            if not cannot_look(error):
                raise
            return {"found": {}, "unseen": f"cannot be looked for: allow {self.kind.right} ({error_code(error)})"}
        details = [f"{name}: {left.was}" for name, left in found.items() if left.kept is None]
        return {"found": dict(found), "unseen": "", DETAILS: details} if found else None

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        if observed is None:
            return Diff(Action.NONE)
        found: Mapping[str, Left] = observed["found"]
        going = {name: left for name, left in found.items() if left.kept is None and not self.data}
        staying = {name: left.kept or "data; emflow destroy --delete-data removes it" for name, left in found.items()}
        notes = [note for left in going.values() for note in left.notes]
        notes += [f"{name} stays: {why}" for name, why in staying.items() if name not in going]
        notes += [observed["unseen"]] if observed["unseen"] else []
        changes = tuple(Change(name, left.was, None) for name, left in going.items())
        return Diff(Action.REMOVE if going else Action.NONE, changes, notes=tuple(notes))

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        for change in diff.changes:
            run.pause(0)
            run.waiting("removing", change.field)
            self.kind.remove(clients, change.field, run)
        return {}

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        found: Mapping[str, Left] = observed["found"]
        if any(left.kept is None for left in found.values()):
            return None if delete_data or not self.data else DATA
        return "; ".join(f"{name}: {left.kept}" for name, left in found.items()) or observed["unseen"]

    def delete(self, clients: Clients, run: RunContext) -> None:
        for name, left in self.kind.find(clients).items():
            if left.kept is None:
                run.pause(0)
                run.waiting("removing", name)
                self.kind.remove(clients, name, run)


def cannot_look(error: ClientError) -> bool:
    """Whether somebody may not, or an endpoint cannot, list what is tagged."""
    return error_code(error) in REFUSED or http_status(error) == 501


def tagged(
    clients: Clients, service: str, ownership: Ownership, resources: Sequence[str] = ()
) -> dict[str, dict[str, str]]:
    """What carries the workflow's mark: ARN → tags. `resources`: for which parts of the workflow; none is all."""
    filters = {WORKFLOW_TAG: [ownership.workflow], **({RESOURCE_TAG: list(resources)} if resources else {})}
    return with_tags(clients, service, filters)


def with_tags(clients: Clients, service: str, tags: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """What has all of these tags, each with one of the values, where any are given: ARN → tags."""
    filters: list[dict[str, Any]] = [{"Key": key, "Values": list(values)} for key, values in tags.items()]
    pages = clients("resourcegroupstaggingapi").get_paginator("get_resources")
    listed = pages.paginate(TagFilters=filters, ResourceTypeFilters=[service], ResourcesPerPage=100)
    return {
        each["ResourceARN"]: tags_as_mapping(each["Tags"]) for page in listed for each in page["ResourceTagMappingList"]
    }


def used_by_others(clients: Clients, ownership: Ownership, names: Collection[str]) -> dict[str, str]:
    """Which of these components other workflows deploy, as far as they say so: name → workflow."""
    made = with_tags(clients, "greengrass", {revision.COMPONENTS_TAG: ()})
    targets = {
        tags[revision.TARGET_TAG]
        for tags in made.values()
        if revision.TARGET_TAG in tags and not ownership.owns(tags) and revision.names_in_tags(tags) & set(names)
    }
    found = read_parallel(
        {
            each: partial(revision.components_of_others, clients, clients.arn("iot", each), ownership)
            for each in sorted(targets)
        }
    )
    return {name: workflow for put in found.values() for name, workflow in put.items() if name in names}


# Leftovers on devices and in Greengrass: deployments to earlier targets, components that the workflow dropped.


RIGHT = "tag:GetResources"


@dataclass(frozen=True)
class OldTargets:
    """Targets that the workflow was deployed to earlier. `target`: today's, such as `thing/core-1`."""

    target: str
    ownership: Ownership

    @property
    def right(self) -> str:
        return RIGHT

    def find(self, clients: Clients) -> Mapping[str, Left]:
        made = tagged(clients, "greengrass", self.ownership, [DEPLOYMENT])
        targets = {tags.get(revision.TARGET_TAG, self.target) for tags in made.values()} - {self.target}
        found = read_parallel({target: partial(self._left, clients, target) for target in sorted(targets)})
        return {target: left for target, left in found.items() if left}

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        revision.remove_owned_components(clients, name, self.ownership)

    def _left(self, clients: Clients, target: str) -> Left | None:
        arn = clients.arn("iot", target)
        latest = revision.latest_deployment(clients, arn)
        there = latest["components"] if latest else {}
        put = revision.owned_components(clients, arn, latest, self.ownership) & there.keys()
        # A thing that is gone takes no deployment, and runs nothing.
        if not put or not revision.target_exists(clients, target):
            return None
        versions = {name: there[name]["componentVersion"] for name in sorted(put)}
        notes = [f"removes {name} {version} from the devices of {target}" for name, version in versions.items()]
        notes += [f"keeps {name} on {target}, which is not in this workflow" for name in sorted(there.keys() - put)]
        return Left(", ".join(f"{name} {version}" for name, version in versions.items()), tuple(notes))


@dataclass(frozen=True)
class OldComponents:
    """Components whose names the workflow no longer has. `names`: those that it has."""

    names: frozenset[str]
    ownership: Ownership

    @property
    def right(self) -> str:
        return RIGHT

    def find(self, clients: Clients) -> Mapping[str, Left]:
        listed = [component_version.name_and_version(arn) for arn in tagged(clients, "greengrass", self.ownership)]
        versions: dict[str, list[str]] = {}
        for name, version in listed:
            if name and name not in self.names:
                versions.setdefault(name, []).append(version)
        if not versions:
            return {}
        ours = read_parallel(
            {
                name: partial(component_version.owned_versions, clients, name, self.ownership)
                for name in sorted(versions)
            }
        )
        used = used_by_others(clients, self.ownership, ours)
        return {
            name: Left(", ".join(found), kept=f"{used[name]} deploys it too" if name in used else None)
            for name, found in ours.items()
            if found
        }

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        component_version.delete_owned_versions(clients, name, self.ownership)


# Leftovers beside the devices: fleets, role aliases, roles and buckets that the workflow no longer names.


@dataclass(frozen=True)
class OldFleets:
    """Fleets of ours, with our devices in them. `fleet` and `devices`: today's."""

    fleet: Fleet
    devices: Devices

    @property
    def right(self) -> str:
        return RIGHT

    def find(self, clients: Clients) -> Mapping[str, Left]:
        made = {_name(arn) for arn in tagged(clients, "sagemaker", self.fleet.ownership, [FLEET])} - {self.fleet.name}
        found = read_parallel({name: partial(self._left, clients, name) for name in sorted(made)})
        return {name: left for name, left in found.items() if left}

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        fleet, devices = self._at(name)
        devices.delete(clients, run)
        if not devices.of_others(clients):
            fleet.delete(clients, run)

    def _at(self, name: str) -> tuple[Fleet, Devices]:
        return replace(self.fleet, name=name, devices=None), replace(self.devices, fleet=name, named=())

    def _left(self, clients: Clients, name: str) -> Left | None:
        fleet, devices = self._at(name)
        found = fleet.observe(clients)
        if not found or not fleet.ownership.owns(found["tags"]):
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
        made = {_name(arn) for arn in tagged(clients, "iot", self.alias.ownership, [ROLE_ALIAS])} - {self.alias.name}
        found = read_parallel({name: partial(self._left, clients, name) for name in sorted(made)})
        return {name: left for name, left in found.items() if left}

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        replace(self.alias, name=name).delete(clients, run)

    def _left(self, clients: Clients, name: str) -> Left | None:
        alias = replace(self.alias, name=name)
        found = alias.observe(clients)
        if not found or not alias.ownership.owns(found["tags"]):
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
        found = read_parallel({name: partial(self._left, clients, name) for name in sorted(listed)})
        return {name: left for name, left in found.items() if left}

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        self._at(name).delete(clients, run)

    def _at(self, name: str) -> Role:
        return replace(self.role, role=RoleName(name))

    def _left(self, clients: Clients, name: str) -> Left | None:
        role = self._at(name)
        found = role.observe(clients)
        if not found or not role.ownership.owns(found["tags"]):
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
        made = tagged(clients, "s3", one.ownership, [COMPONENTS_BUCKET, RESULTS_BUCKET])
        names = {arn.rpartition(":")[2] for arn in made} - {bucket.name for bucket in self.buckets}
        tags = read_parallel(
            {
                name: partial(none_if_missing, partial(lambda name: s3.get_bucket_tagging(Bucket=name)["TagSet"], name))
                for name in sorted(names)
            }
        )
        return {
            f"bucket {name}": Left("the bucket")
            for name, has in tags.items()
            if has and one.ownership.owns(tags_as_mapping(has))
        }

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        replace(self.buckets[0], name=name.removeprefix("bucket ")).delete(clients, run)


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]
