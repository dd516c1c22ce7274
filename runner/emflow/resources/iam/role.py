"""The kind `role`: the IAM role that devices and SageMaker's jobs assume, created, or used as it is and added to.

A role that exists already is usually the core device's own; whoever may assume it keeps that right. It is known by its
name, or by the role alias that the core device already uses.

How several workflows share a role, and one workflow in several regions, is in `iam.shared_role`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from botocore.exceptions import BotoCoreError

from emflow.engine.clients import Clients
from emflow.engine.resource import (
    Diff,
    FieldLabel,
    Inputs,
    Observed,
    Outputs,
    Retention,
    RunContext,
)
from emflow.engine.scheduler import read_parallel
from emflow.json_text import to_json
from emflow.problems import Problem
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.iam import policy_documents, shared_role
from emflow.resources.iam.shared_role import UNKNOWN_REGION, RoleUser, retention, role_use
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.orphans import Orphan, Orphans
from emflow.resources.ownership import (
    NOT_OWNED,
    OTHERS_LABEL,
    OWNED_LABEL,
    TAGS_LABEL,
    Ownership,
    added_and_removed,
    owner_in,
    tags_as_list,
)
from emflow.resources.second_look import stays
from emflow_schema.units import seconds

ROLE = "access/role"
OLD_ROLES = "orphan/roles"

DESCRIPTION = "Devices and SageMaker jobs of emflow workflow"
"""The description of a role that a workflow makes begins with it; the workflow's name follows. Lists of roles have
descriptions, but no tags."""

SHORTEST_SESSION = 3600
"""IAM's least for MaxSessionDuration, in seconds, and its default."""


@dataclass(frozen=True)
class RoleName:
    """How a role is known: by its own name, or by that of a role alias which points at it."""

    name: str
    from_alias: str | None = None

    def __str__(self) -> str:
        return f"the role of {self.from_alias}" if self.from_alias else self.name

    def find(self, clients: Clients) -> str | None:
        """The role's name, asked for where only the alias is known; None when there is no such alias."""
        if not self.from_alias:
            return self.name
        iot = clients("iot")
        found = none_if_missing(lambda: iot.describe_role_alias(roleAlias=self.from_alias)["roleAliasDescription"])
        return str(found["roleArn"]).rpartition("/")[2] if found else None


@dataclass(frozen=True)
class Role:
    """A role.

    Args:
        session_seconds: what the role alias needs; its credentials may not outlast the role's session.
        user: the workflow, as a user of the role.
        adopted: it may be changed although another workflow made it, or this one in another region.
    """

    role: RoleName
    ownership: Ownership
    session_seconds: int
    user: RoleUser
    adopted: bool = False

    id: ClassVar[str] = ROLE
    needs: ClassVar[frozenset[str]] = frozenset()
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "arn": FieldLabel("its ARN"),
        "trust": FieldLabel("the trust policy"),
        "session": FieldLabel("the longest session"),
        "tags": TAGS_LABEL,
        "others": OTHERS_LABEL,
        "ours": OWNED_LABEL,
        "unclear": FieldLabel("whether it is known which region it is used in"),
    }

    @property
    def name(self) -> str:
        return str(self.role)

    @property
    def description(self) -> str:
        return f"{DESCRIPTION} {self.ownership.workflow}"

    def observe(self, clients: Clients) -> Observed | None:
        name = self.role.find(clients)
        role = none_if_missing(lambda: clients("iam").get_role(RoleName=name)["Role"]) if name else None
        if role is None:
            return None
        use = role_use(clients, role["RoleName"], self.user)
        return {
            "name": role["RoleName"],
            "arn": role["Arn"],
            "trust": role["AssumeRolePolicyDocument"],
            "session": role.get("MaxSessionDuration", SHORTEST_SESSION),
            "tags": dict(use.tags),
            "others": use.others,
            "ours": use.made_here,
            "unclear": use.region_is_unknown,
        }

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        if observed is None and self.role.from_alias:
            raise Problem(
                f"IoT knows no role alias {self.role.from_alias} with a role that exists",
                where=self.id,
                mend="Name the core device's alias (iotRoleAlias in its configuration), or leave cloud.role.from_alias "
                "out: then a role and an alias are made.",
            )
        have = observed or {}
        ours = not have or have["ours"]
        want = {
            "trust": policy_documents.with_trusted_services(have.get("trust")),
            "session": max(self.session_seconds, have.get("session", SHORTEST_SESSION)),
            "tags": self.ownership.merged_with(have.get("tags")) if ours else have["tags"],
        }
        outputs = {key: have[key] for key in ("arn", "name")} if have else {}
        diff = Diff.between(want, observed, outputs=outputs, notes=tuple(self._notes(have)))
        # A role that a person made, usually the core device's own, is added to; one of another workflow is not.
        if not ours and not self.adopted and diff.changes and (owner := owner_in(have["tags"])):
            raise Problem(
                f"role {have['name']} was made by workflow {owner}, and differs in: "
                + ", ".join(change.field for change in diff.changes),
                where=self.id,
                mend=f"Choose another name in the workflow, or let emflow change it: --adopt {self.id}",
            )
        return diff

    def _notes(self, have: Observed) -> Iterator[str]:
        needed, session = max(self.session_seconds, SHORTEST_SESSION), have.get("session", 0)
        # The core device's own role has a session of its own.
        if have and have["ours"] and session > needed:
            yield f"its sessions may last {session} s; the workflow needs {needed} s"
        if services := policy_documents.trusted_under_conditions(have.get("trust") or {}):
            yield f"{', '.join(services)} may assume it under conditions only; emflow leaves them as they are"
        if have and have["unclear"]:
            yield f"used as it is: {UNKNOWN_REGION}"

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        iam = clients("iam")
        if "arn" not in diff.outputs:
            try:
                return self._create(iam)
            except (iam.exceptions.EntityAlreadyExistsException, BotoCoreError):
                # Made since we looked, perhaps by a call of ours whose answer was lost: add to what is there now.
                found = self.observe(clients)
                if found is None:
                    raise
                diff = self.diff(found, inputs)
        name = diff.outputs["name"]
        for change in diff.changes:
            match change.field:
                case "trust":
                    iam.update_assume_role_policy(RoleName=name, PolicyDocument=to_json(change.new))
                case "session":
                    iam.update_role(RoleName=name, MaxSessionDuration=change.new)
                case "tags":
                    put, removed = added_and_removed(change)
                    if put:
                        iam.tag_role(RoleName=name, Tags=tags_as_list(put))
                    if removed:
                        iam.untag_role(RoleName=name, TagKeys=removed)
        return diff.outputs

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        if observed["unclear"]:
            return Retention.because(UNKNOWN_REGION)
        return retention(observed["others"]) if observed["ours"] else Retention.because(NOT_OWNED)

    def delete(self, clients: Clients, run: RunContext) -> None:
        """Remove it with all policies on it: IAM deletes a bare role only."""
        iam, name = clients("iam"), self.role.find(clients)
        if name is None:
            return
        # Whose it is, and what an earlier version left on it, is not asked again: the role alias said it, and is gone.
        others = [each for each in role_use(clients, name, self.user).others if each != self.user.earlier_inline_name]
        if others:
            raise stays(name, self.id, retention(others).reason)
        for policy in none_if_missing(lambda: shared_role.attached(iam, name)) or ():
            none_if_missing(partial(iam.detach_role_policy, RoleName=name, PolicyArn=policy))
        for policy in none_if_missing(lambda: shared_role.inline(iam, name)) or ():
            none_if_missing(partial(iam.delete_role_policy, RoleName=name, PolicyName=policy))
        none_if_missing(lambda: iam.delete_role(RoleName=name))

    def _create(self, iam: Any) -> Outputs:
        made = iam.create_role(
            RoleName=self.role.name,
            AssumeRolePolicyDocument=to_json(policy_documents.with_trusted_services(None)),
            MaxSessionDuration=max(self.session_seconds, SHORTEST_SESSION),
            Description=self.description,
            Tags=self.ownership.tag_list(),
        )
        return {"arn": made["Role"]["Arn"], "name": made["Role"]["RoleName"]}


@dataclass(frozen=True)
class OldRoles:
    """Finds the workflow's roles that it no longer names. `current`: the one that it names.

    The tagging API does not know roles, so they are found by their description.
    """

    current: Role
    permission: ClassVar[str] = "iam:ListRoles"

    def find(self, clients: Clients) -> Mapping[str, Orphan]:
        pages = clients("iam").get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 1000})
        names = {
            role["RoleName"]
            for page in pages
            for role in page["Roles"]
            if role.get("Description") == self.current.description
        }
        names -= {self.current.role.find(clients)}
        found = read_parallel({name: partial(self._orphan, clients, name) for name in sorted(names)})
        return {name: orphan for name, orphan in found.items() if orphan}

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        self._at(name).delete(clients, run)

    def _at(self, name: str) -> Role:
        return replace(self.current, role=RoleName(name))

    def _orphan(self, clients: Clients, name: str) -> Orphan | None:
        role = self._at(name)
        found = role.observe(clients)
        if not found or not (found["ours"] or found["unclear"]):
            return None
        return Orphan("the role", retention=role.retention(found, delete_data=False))


def role_name(context: BuildContext) -> RoleName:
    """How the workflow's role is known."""
    role = context.workflow.cloud.role
    return RoleName(role.name, role.from_alias)


def role_user(context: BuildContext) -> RoleUser:
    """The workflow as a user of its role."""
    workflow = context.workflow
    role = workflow.cloud.role
    return RoleUser(workflow.metadata.name, workflow.aws.region, role.from_alias or role.alias)


def credential_seconds(context: BuildContext) -> int | None:
    """How long credentials last; None for an alias that the core device has already, which keeps its duration."""
    role = context.workflow.cloud.role
    return None if role.from_alias else round(seconds(role.credential_duration))


def _roles(context: BuildContext) -> tuple[Role, ...]:
    session, adopted = credential_seconds(context) or 0, ROLE in context.adopted
    return (Role(role_name(context), context.ownership(ROLE), session, role_user(context), adopted),)


def _orphans(context: BuildContext) -> tuple[Orphans, ...]:
    return tuple(Orphans(OLD_ROLES, "earlier roles", OldRoles(role)) for role in _roles(context))


KIND = ResourceKind(desired=_roles, removable=_roles, orphans=_orphans, adoptable=(ROLE,))
