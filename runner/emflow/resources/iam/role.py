"""The kind `role`: the IAM role that devices and SageMaker's jobs assume, created, or used as it is and added to.

A role that exists already is usually the core device's own; whoever may assume it keeps that right. It is known by its
name, or by the role alias that the core device already uses.

Several workflows can share a role, because each has an inline policy with a name of its own. A managed policy on a role
does not say who attached it. So a workflow that wants some writes a note on the role, in a tag of its own and before it
attaches any, with those that no outsider attached: what is not on the role yet, and what other workflows have noted.
What is on the role and in no note is somebody else's, and is never detached. A workflow that is destroyed detaches what
it noted and no other workflow did, and then removes its note.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from botocore.exceptions import BotoCoreError

from emflow.engine.clients import Clients
from emflow.engine.resource import (
    REMOVABLE,
    Diff,
    FieldLabel,
    Inputs,
    Observed,
    Outputs,
    Retention,
    RunContext,
)
from emflow.engine.scheduler import read_parallel
from emflow.problems import Problem
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.iam import policy_documents
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.orphans import Orphan, Orphans
from emflow.resources.ownership import (
    NOT_OWNED,
    OTHERS_LABEL,
    TAGS_LABEL,
    Ownership,
    added_and_removed,
    tags_as_list,
    tags_as_mapping,
)
from emflow.resources.tag_search import name_in_arn
from emflow_schema.units import seconds

ROLE = "access/role"
OLD_ROLES = "orphan/roles"

NOTE_TAG = "emflow:policies:"
"""The key of a note begins with it; the workflow's name follows. The value: names of managed policies, separated by
spaces."""

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
    """A role. `session_seconds`: what the role alias needs; its credentials may not outlast the role's session."""

    role: RoleName
    ownership: Ownership
    session_seconds: int

    id: ClassVar[str] = ROLE
    needs: ClassVar[frozenset[str]] = frozenset()
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "arn": FieldLabel("its ARN"),
        "trust": FieldLabel("the trust policy"),
        "session": FieldLabel("the longest session"),
        "tags": TAGS_LABEL,
        "others": OTHERS_LABEL,
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
        return {
            "name": role["RoleName"],
            "arn": role["Arn"],
            "trust": role["AssumeRolePolicyDocument"],
            "session": role.get("MaxSessionDuration", SHORTEST_SESSION),
            "tags": tags_as_mapping(role.get("Tags", [])),
            "others": policies_of_others(clients, role["RoleName"], self.ownership.workflow),
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
        want = {
            "trust": policy_documents.with_trusted_services(have.get("trust")),
            "session": max(self.session_seconds, have.get("session", SHORTEST_SESSION)),
            "tags": self.ownership.merged_with(have.get("tags")),
        }
        needed, session = max(self.session_seconds, SHORTEST_SESSION), have.get("session", 0)
        # The core device's own role has a session of its own.
        longer = bool(have) and self.ownership.owns(have["tags"]) and session > needed
        notes = (f"its sessions may last {session} s; the workflow needs {needed} s",) if longer else ()
        outputs = {key: have[key] for key in ("arn", "name")} if have else {}
        return Diff.between(want, observed, outputs=outputs, notes=notes)

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
                    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(change.new))
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
        return retention(observed["others"]) if self.ownership.owns(observed["tags"]) else Retention.because(NOT_OWNED)

    def delete(self, clients: Clients, run: RunContext) -> None:
        """Remove it with all policies on it: IAM deletes a bare role only."""
        iam, name = clients("iam"), self.role.find(clients)
        if name is None:
            return
        for policy in none_if_missing(lambda: attached(iam, name)) or ():
            none_if_missing(partial(iam.detach_role_policy, RoleName=name, PolicyArn=policy))
        for policy in none_if_missing(lambda: inline(iam, name)) or ():
            none_if_missing(partial(iam.delete_role_policy, RoleName=name, PolicyName=policy))
        none_if_missing(lambda: iam.delete_role(RoleName=name))

    def _create(self, iam: Any) -> Outputs:
        made = iam.create_role(
            RoleName=self.role.name,
            AssumeRolePolicyDocument=json.dumps(policy_documents.with_trusted_services(None)),
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
        if not found or not role.ownership.owns(found["tags"]):
            return None
        return Orphan("the role", retention=role.retention(found, delete_data=False))


def role_name(context: BuildContext) -> RoleName:
    """How the workflow's role is known."""
    role = context.workflow.cloud.role
    return RoleName(role.name, role.from_alias)


def credential_seconds(context: BuildContext) -> int | None:
    """How long credentials last; None for an alias that the core device has already, which keeps its duration."""
    role = context.workflow.cloud.role
    return None if role.from_alias else round(seconds(role.credential_duration))


def _roles(context: BuildContext) -> tuple[Role, ...]:
    return (Role(role_name(context), context.ownership(ROLE), credential_seconds(context) or 0),)


def _orphans(context: BuildContext) -> tuple[Orphans, ...]:
    return tuple(Orphans(OLD_ROLES, "earlier roles", OldRoles(role)) for role in _roles(context))


KIND = ResourceKind(desired=_roles, removable=_roles, orphans=_orphans)


def inline_name(workflow: str) -> str:
    """The name of a workflow's inline policy: one for each workflow, so that several can share a role."""
    return f"emflow-{workflow}"


def inline(iam: Any, role: str) -> list[str]:
    """Names of the inline policies on a role."""
    pages = iam.get_paginator("list_role_policies").paginate(RoleName=role)
    return [name for page in pages for name in page["PolicyNames"]]


def attached(iam: Any, role: str) -> list[str]:
    """ARNs of the managed policies on a role."""
    pages = iam.get_paginator("list_attached_role_policies").paginate(RoleName=role)
    return [policy["PolicyArn"] for page in pages for policy in page["AttachedPolicies"]]


def tags(iam: Any, role: str) -> dict[str, str]:
    """The tags of a role."""
    pages = iam.get_paginator("list_role_tags").paginate(RoleName=role)
    return tags_as_mapping([tag for page in pages for tag in page["Tags"]])


def note_key(workflow: str) -> str:
    """The key of a workflow's note."""
    return f"{NOTE_TAG}{workflow}"


def notes_on(role_tags: Mapping[str, str]) -> dict[str, set[str]]:
    """The notes on a role: workflow → names of managed policies."""
    return {
        key.removeprefix(NOTE_TAG): set(value.split()) for key, value in role_tags.items() if key.startswith(NOTE_TAG)
    }


def note_for(wanted: Iterable[str], there: Collection[str], notes: Mapping[str, set[str]]) -> str:
    """What a workflow notes of the managed policies that it wants (ARNs), with those that are on the role (ARNs)."""
    shared = set[str]().union(*notes.values())
    return " ".join(sorted(name_in_arn(arn) for arn in wanted if arn not in there or name_in_arn(arn) in shared))


def noted_only_by(workflow: str, notes: Mapping[str, set[str]]) -> set[str]:
    """Names of the managed policies that this workflow noted and no other did."""
    others = set[str]().union(*(names for name, names in notes.items() if name != workflow))
    return notes.get(workflow, set()) - others


def policies_of_others(clients: Clients, role: str, workflow: str) -> list[str]:
    """What shows that others than this workflow use a role: their inline policies, and workflows' notes."""
    iam = clients("iam")
    found: dict[str, Any] = read_parallel(
        {
            "inline": lambda: none_if_missing(lambda: inline(iam, role)) or [],
            "noted": lambda: notes_on(none_if_missing(lambda: tags(iam, role)) or {}),
        }
    )
    names = [name for name in found["inline"] if name != inline_name(workflow)]
    noting = {inline_name(name) for name in found["noted"] if name != workflow}
    return [*names, *sorted(noting - set(names))]


def retention(others: list[str]) -> Retention:
    """Whether `destroy` keeps a role, and what leads to it: where others use it. `others`: their policies on it."""
    if others:
        return Retention.used_by_others(f"others use the role: it has their policies {', '.join(others)}")
    return REMOVABLE
