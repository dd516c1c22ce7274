"""The kind `role alias`: the IoT role alias, under whose name devices get the role's credentials.

The fleet could make one itself (EnableIotRoleAlias), always as `SageMakerEdge-<fleet>` and for one hour; made here, it
has the workflow's name and duration, and is there before the first device asks. Unlike the role, it lives in a region:
who uses the role in another region does not use this alias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from botocore.exceptions import BotoCoreError

from emflow.engine.clients import Clients
from emflow.engine.resource import Diff, FieldLabel, Inputs, Observed, Outputs, Retention, RunContext
from emflow.engine.scheduler import read_parallel
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.iam.role import OLD_ROLES, ROLE, credential_seconds
from emflow.resources.iam.shared_role import RoleUser, alias_tags, retention, role_use
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.orphans import Orphan, Orphans
from emflow.resources.ownership import (
    NOT_OWNED,
    OTHERS_LABEL,
    TAGS_LABEL,
    Ownership,
    added_and_removed,
    refuse_unowned_change,
    tags_as_list,
)
from emflow.resources.second_look import is_still_removable
from emflow.resources.tag_search import PERMISSION, find_owned, name_in_arn

ROLE_ALIAS = "access/role_alias"
OLD_ROLE_ALIASES = "orphan/role_aliases"


@dataclass(frozen=True)
class RoleAlias:
    """A role alias. `seconds` is how long its credentials last, 900 to 43200; None leaves that as it is."""

    name: str
    seconds: int | None
    ownership: Ownership
    adopted: bool = False

    id: ClassVar[str] = ROLE_ALIAS
    needs: ClassVar[frozenset[str]] = frozenset({ROLE})
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "arn": FieldLabel("its ARN"),
        "role": FieldLabel("the role that it points at"),
        "seconds": FieldLabel("the lifetime of the credentials"),
        "others": OTHERS_LABEL,
        "tags": TAGS_LABEL,
    }

    def observe(self, clients: Clients) -> Observed | None:
        iot = clients("iot")
        found = none_if_missing(lambda: iot.describe_role_alias(roleAlias=self.name)["roleAliasDescription"])
        if found is None:
            return None
        role = found.get("roleArn")
        name = role.rpartition("/")[2] if role else None
        return {
            "arn": found["roleAliasArn"],
            "role": role,
            "seconds": found.get("credentialDurationSeconds"),
            "others": role_use(clients, name, self._user).others_in_region if name else [],
            "tags": alias_tags(iot, found["roleAliasArn"]),
        }

    @property
    def _user(self) -> RoleUser:
        return RoleUser(self.ownership.workflow, self.ownership.region, self.name)

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        have = observed or {}
        want = {
            "role": inputs.planned(ROLE, "arn"),
            "seconds": have.get("seconds") if self.seconds is None else self.seconds,
            "tags": self.ownership.merged_with(have.get("tags")),
        }
        diff = Diff.between(want, observed, outputs={"arn": observed["arn"]} if observed else {})
        if observed is not None:
            refuse_unowned_change(
                f"role alias {self.name}", self.ownership, observed["tags"], diff.changes, adopted=self.adopted
            )
        return diff

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        iot = clients("iot")
        asked: dict[str, Any] = {"roleAlias": self.name, "roleArn": inputs.known(ROLE, "arn")}
        if self.seconds is not None:
            asked["credentialDurationSeconds"] = self.seconds
        if "arn" not in diff.outputs:
            try:
                return {"arn": iot.create_role_alias(**asked, tags=self.ownership.tag_list())["roleAliasArn"]}
            except (iot.exceptions.ResourceAlreadyExistsException, BotoCoreError):
                # Made since we looked, perhaps by a call of ours whose answer was lost.
                found = self.observe(clients)
                if found is None:
                    raise
                diff = self.diff(found, inputs)
        new = {change.field: change for change in diff.changes}
        if new.keys() & {"role", "seconds"}:
            iot.update_role_alias(**asked)
        if "tags" in new:
            put, removed = added_and_removed(new["tags"])
            if put:
                iot.tag_resource(resourceArn=diff.outputs["arn"], tags=tags_as_list(put))
            if removed:
                iot.untag_resource(resourceArn=diff.outputs["arn"], tagKeys=removed)
        return diff.outputs

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        return retention(observed["others"]) if self.ownership.owns(observed["tags"]) else Retention.because(NOT_OWNED)

    def delete(self, clients: Clients, run: RunContext) -> None:
        if is_still_removable(self, clients):
            none_if_missing(lambda: clients("iot").delete_role_alias(roleAlias=self.name))


@dataclass(frozen=True)
class OldRoleAliases:
    """Finds the workflow's role aliases that it no longer names. `current`: the one that it names."""

    current: RoleAlias
    permission: ClassVar[str] = PERMISSION

    def find(self, clients: Clients) -> Mapping[str, Orphan]:
        arns = find_owned(clients, "iot", self.current.ownership, [ROLE_ALIAS])
        names = {name_in_arn(arn) for arn in arns} - {self.current.name}
        found = read_parallel({name: partial(self._orphan, clients, name) for name in sorted(names)})
        return {name: orphan for name, orphan in found.items() if orphan}

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        replace(self.current, name=name).delete(clients, run)

    def _orphan(self, clients: Clients, name: str) -> Orphan | None:
        alias = replace(self.current, name=name)
        found = alias.observe(clients)
        if not found or not alias.ownership.owns(found["tags"]):
            return None
        notes = (f"devices that are configured with role alias {name} lose their credentials",)
        return Orphan(f"the alias of {found['role']}", notes, alias.retention(found, delete_data=False))


def _role_aliases(context: BuildContext) -> tuple[RoleAlias, ...]:
    role = context.workflow.cloud.role
    name, adopted = role.from_alias or role.alias, ROLE_ALIAS in context.adopted
    return (RoleAlias(name, credential_seconds(context), context.ownership(ROLE_ALIAS), adopted),)


def _orphans(context: BuildContext) -> tuple[Orphans, ...]:
    return tuple(
        Orphans(OLD_ROLE_ALIASES, "earlier role aliases", OldRoleAliases(alias), releases=frozenset({OLD_ROLES}))
        for alias in _role_aliases(context)
    )


KIND = ResourceKind(desired=_role_aliases, removable=_role_aliases, orphans=_orphans, adoptable=(ROLE_ALIAS,))
