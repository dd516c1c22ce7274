"""What a workflow leaves on a role that several may use: an inline policy, and a note of managed policies.

IAM is global, so the same workflow may use one role in several regions: names and notes carry the region. Earlier
versions wrote none. What they left belongs to the region that its inline policy names and that the role was last used
in; where neither is known, to the region in the role's own tags, or in which an earlier version made the role alias
that points at the role. Where this contradicts itself, or says nothing, it counts as another user's.

A managed policy on a role does not say who attached it. So a workflow that wants some writes a note on the role, in a
tag of its own and before it attaches any, with those that no outsider attached: what is not on the role yet, and what
other workflows have noted. What is on the role and in no note is somebody else's, and is never detached. A workflow
that is destroyed detaches what it noted and no other workflow did, and then removes its note.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import error_code
from emflow.engine.resource import REMOVABLE, Retention
from emflow.engine.scheduler import read_parallel
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.iam.policy_documents import as_list
from emflow.resources.ownership import REGION_TAG, WORKFLOW_TAG, tags_as_mapping
from emflow.resources.tag_search import name_in_arn

INLINE = "emflow-"
"""The name of a workflow's inline policy begins with it."""

NOTE_TAG = "emflow:policies:"
"""The key of a note begins with it; the user follows. The value: names of managed policies, separated by spaces."""

REGIONAL = ("greengrass", "sagemaker", "logs")
"""Services whose resources are in the workflow's own region wherever one of its policies names them."""

UNKNOWN_REGION = (
    "it does not say in which region it is used: an earlier version made it. Tag it emflow:region=<region> to have it "
    "removed from there"
)


@dataclass(frozen=True)
class RoleUser:
    """A workflow in one region, as the user of a role. `alias`: the role alias that its devices use."""

    workflow: str
    region: str
    alias: str

    def __str__(self) -> str:
        # Neither the name of a workflow nor that of a region has an @.
        return f"{self.workflow}@{self.region}"

    @property
    def inline_name(self) -> str:
        """The name of its inline policy."""
        return f"{INLINE}{self}"

    @property
    def earlier_inline_name(self) -> str:
        """The name that earlier versions gave it."""
        return f"{INLINE}{self.workflow}"

    @property
    def note_key(self) -> str:
        """The key of its note."""
        return f"{NOTE_TAG}{self}"

    @property
    def earlier_note_key(self) -> str:
        """The key that earlier versions gave it."""
        return f"{NOTE_TAG}{self.workflow}"


@dataclass(frozen=True)
class RoleUse:
    """How a role is used.

    Args:
        tags: those of the role.
        inline: names of all inline policies on it.
        earlier: whether what an earlier version left there for this workflow is of this region.
        user: the workflow that asks.
    """

    tags: Mapping[str, str]
    inline: tuple[str, ...]
    earlier: bool
    user: RoleUser

    @property
    def made_here(self) -> bool:
        """Whether the workflow made the role, in this region."""
        if self.tags.get(WORKFLOW_TAG) != self.user.workflow:
            return False
        region = self.tags.get(REGION_TAG)
        return self.earlier if region is None else region == self.user.region

    @property
    def region_is_unknown(self) -> bool:
        """Whether the workflow made the role, in a region that cannot be found out."""
        made = self.tags.get(WORKFLOW_TAG) == self.user.workflow
        return made and REGION_TAG not in self.tags and not self.earlier

    @property
    def own_inline(self) -> list[str]:
        """Names of the inline policies on the role that are the user's."""
        own = [self.user.inline_name, *([self.user.earlier_inline_name] if self.earlier else [])]
        return [name for name in own if name in self.inline]

    @property
    def own_notes(self) -> list[str]:
        """Keys of the notes on the role that are the user's."""
        own = [self.user.note_key, *([self.user.earlier_note_key] if self.earlier else [])]
        return [key for key in own if key in self.tags]

    @property
    def left_by_earlier_versions(self) -> list[str]:
        """Those of the user's policies and notes whose names have no region."""
        now = (self.user.inline_name, self.user.note_key)
        return [name for name in (*self.own_inline, *self.own_notes) if name not in now]

    @property
    def notes(self) -> dict[str, set[str]]:
        """The notes on the role: user → names of managed policies. The user's own ones are one."""
        found: dict[str, set[str]] = {}
        for key, value in self.tags.items():
            if key.startswith(NOTE_TAG):
                whose = str(self.user) if key in self.own_notes else key.removeprefix(NOTE_TAG)
                found.setdefault(whose, set()).update(value.split())
        return found

    @property
    def others(self) -> list[str]:
        """What shows that others use the role: their inline policies, and workflows' notes."""
        names = [name for name in self.inline if name not in self.own_inline]
        noting = {f"{INLINE}{whose}" for whose in self.notes if whose != str(self.user)}
        return [*names, *sorted(noting - set(names))]

    @property
    def others_in_region(self) -> list[str]:
        """Those of `others` that may use the role in the user's own region: all but workflows' of another region."""
        return [name for name in self.others if _region_of(name) in ("", self.user.region)]


def role_use(clients: Clients, role: str, user: RoleUser) -> RoleUse:
    """How a role is used; one that does not exist is not used."""
    iam = clients("iam")
    found: dict[str, Any] = read_parallel(
        {
            "inline": lambda: none_if_missing(lambda: inline(iam, role)) or [],
            "tags": lambda: none_if_missing(lambda: tags(iam, role)) or {},
        }
    )
    there = found["tags"]
    unclear = (
        user.earlier_inline_name in found["inline"]
        or user.earlier_note_key in there
        or (there.get(WORKFLOW_TAG) == user.workflow and REGION_TAG not in there)
    )
    earlier = unclear and _earlier_region(clients, role, there, user) == user.region
    return RoleUse(there, tuple(found["inline"]), earlier, user)


def retention(others: list[str]) -> Retention:
    """Whether `destroy` keeps a role, and what leads to it: where others use it. `others`: their policies on it."""
    if others:
        return Retention.used_by_others(f"others use the role: it has their policies {', '.join(others)}")
    return REMOVABLE


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


def note_for(wanted: Iterable[str], there: Collection[str], notes: Mapping[str, set[str]]) -> str:
    """What a user notes of the managed policies that it wants (ARNs), with those that are on the role (ARNs)."""
    shared = set[str]().union(*notes.values())
    return " ".join(sorted(name_in_arn(arn) for arn in wanted if arn not in there or name_in_arn(arn) in shared))


def noted_only_by(user: str, notes: Mapping[str, set[str]]) -> set[str]:
    """Names of the managed policies that this user noted and no other did."""
    others = set[str]().union(*(names for name, names in notes.items() if name != user))
    return notes.get(user, set()) - others


def named_resources(document: Mapping[str, Any]) -> Iterator[str]:
    """Every resource that the statements of a policy name."""
    for statement in as_list(document.get("Statement")):
        yield from map(str, as_list(statement.get("Resource")))


def _region_of(policy: str) -> str:
    """The region that the name of a workflow's inline policy carries; empty where a name carries none."""
    return policy.partition("@")[2] if policy.startswith(INLINE) else ""


def _earlier_region(clients: Clients, role: str, there: Mapping[str, str], user: RoleUser) -> str:
    """The region of what an earlier version left on a role with these tags; empty where that is not known."""
    iam, iot = clients("iam"), clients("iot")
    found: dict[str, Any] = read_parallel(
        {
            "policy": lambda: none_if_missing(
                lambda: iam.get_role_policy(RoleName=role, PolicyName=user.earlier_inline_name)["PolicyDocument"]
            ),
            "role": lambda: none_if_missing(lambda: iam.get_role(RoleName=role)["Role"]),
            "alias": lambda: none_if_missing(partial(_alias, iot, user)),
        }
    )
    last_used = ((found["role"] or {}).get("RoleLastUsed") or {}).get("Region")
    evidence = {*_regions_in(found["policy"] or {}), *([last_used] if last_used else [])}
    if evidence:
        return evidence.pop() if len(evidence) == 1 else ""
    if region := there.get(REGION_TAG) if there.get(WORKFLOW_TAG) == user.workflow else None:
        return region
    no_alias: tuple[str, dict[str, str]] = ("", {})
    arn, tags_of_alias = found["alias"] or no_alias
    # One that has a region was made, or renewed, since: every region where the workflow is applied has such an alias.
    made_then = tags_of_alias.get(WORKFLOW_TAG) == user.workflow and REGION_TAG not in tags_of_alias
    return user.region if made_then and name_in_arn(arn) == role else ""


def _alias(iot: Any, user: RoleUser) -> tuple[str, dict[str, str]]:
    """The ARN of the role that the user's role alias points at, and the tags of the alias."""
    found = iot.describe_role_alias(roleAlias=user.alias)["roleAliasDescription"]
    return found.get("roleArn", ""), alias_tags(iot, found["roleAliasArn"])


def alias_tags(iot: Any, arn: str) -> dict[str, str]:
    """The tags of a role alias."""
    pages = iot.get_paginator("list_tags_for_resource").paginate(resourceArn=arn)
    try:
        return tags_as_mapping([tag for page in pages for tag in page["tags"]])
    except ClientError as error:
        # Some emulators of AWS keep no tags here; then nothing shows that the workflow made the alias.
        if error_code(error) == "UnknownOperationException":
            return {}
        raise


def _regions_in(document: Mapping[str, Any]) -> set[str]:
    """The regions that a policy's resources are in: by those of `REGIONAL` services, where it names any."""
    by_service: dict[str, set[str]] = {}
    for arn in named_resources(document):
        _, _, service, region, *_ = [*arn.split(":"), *[""] * 4]
        if region:
            by_service.setdefault(service, set()).add(region)
    regional = set[str]().union(*(by_service.get(service, set()) for service in REGIONAL))
    return regional or set[str]().union(*by_service.values())
