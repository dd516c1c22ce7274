"""What is ours and what is not: the names of resources, and the tags on what we made.

Our tags are put on a thing by the very call that makes it, and at no other time. So there is no moment in which a thing
of ours looks like somebody else's, and what somebody else made never carries one, however often a workflow has used
it: `destroy` never takes it. The user's own tags (`aws.tags`) follow the workflow on what is ours. The one tag that may
come onto somebody else's is a note on a shared role (`role_use`); it claims nothing but policies that were attached.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emflow.engine.resource import LATER, Change
from emflow.problems import Problem

COMPONENTS_BUCKET = "bucket/components"
RESULTS_BUCKET = "bucket/inference_results"
ROLE = "access/role"
PERMISSIONS = "access/permissions"
ROLE_ALIAS = "access/role_alias"
FLEET = "fleet/fleet"
DEVICES = "fleet/devices"
MODEL = "model/artifact"
COMPILATION = "model/compilation"
PACKAGE = "model/package"
BUNDLE = "application/bundle"
COMPONENT = "application/component"
DEPLOYMENT = "deployment/target"
OBJECTS = "bucket/objects"
OLD_TARGETS = "leftover/targets"
OLD_COMPONENTS = "leftover/components"
OLD_FLEETS = "leftover/fleets"
OLD_ROLE_ALIASES = "leftover/role_aliases"
OLD_ROLES = "leftover/roles"
OLD_BUCKETS = "leftover/buckets"

WORKFLOW_TAG = "emflow:workflow"
RESOURCE_TAG = "emflow:resource"
DIGEST_TAG = "emflow:digest"
USER_TAGS_TAG = "emflow:tags"
"""Holds the keys of the user's tags, with spaces between them, so that one that left the workflow can be removed."""

LONGEST_VALUE = 256
"""Characters of a tag's value."""

NOT_OWNED = "it was not made by this workflow"
DATA = "data; --delete-data removes it"


@dataclass(frozen=True)
class Ownership:
    """Says which part of which workflow made a thing. `user_tags` are the workflow's own."""

    workflow: str
    resource: str
    user_tags: Mapping[str, str] = field(default_factory=dict)

    def tags(self, digest: str = "") -> dict[str, str]:
        """For APIs that take a mapping. `digest` stands for what cannot be changed in the thing."""
        return {
            **self.user_tags,
            **({USER_TAGS_TAG: _keys(self.user_tags)} if self.user_tags else {}),
            WORKFLOW_TAG: self.workflow,
            RESOURCE_TAG: self.resource,
            **({DIGEST_TAG: digest} if digest else {}),
        }

    def tag_list(self, digest: str = "") -> list[dict[str, str]]:
        """For APIs that take a list."""
        return tags_as_list(self.tags(digest))

    def owns(self, tags: Mapping[str, str]) -> bool:
        """Whether the workflow made the thing that has these tags."""
        return tags.get(WORKFLOW_TAG) == self.workflow

    def merged_with(self, tags: Mapping[str, str] | None) -> dict[str, str]:
        """The tags that a thing should have, which has these now; None if it does not exist yet.

        Somebody else's keeps its own. Ours keeps what others put beside, and loses what the workflow no longer says.
        """
        if tags is None:
            return self.tags()
        if not self.owns(tags):
            return dict(tags)
        dropped = {*tags.get(USER_TAGS_TAG, "").split(" "), USER_TAGS_TAG} - self.tags().keys()
        return {**{key: value for key, value in tags.items() if key not in dropped}, **self.tags()}


def tags_as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """A mapping of tags as a list, as most APIs want it."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def added_and_removed(change: Change) -> tuple[dict[str, str], list[str]]:
    """What a change of tags puts, and the keys that it removes."""
    old: Mapping[str, str] = change.old or {}
    new: Mapping[str, str] = change.new
    put = {key: value for key, value in new.items() if old.get(key) != value}
    return put, [key for key in old if key not in new]


def _keys(tags: Mapping[str, str]) -> str:
    """The keys, as many as fit into one value; what does not fit stays when it leaves the workflow."""
    kept = ""
    for key in sorted(tags):
        if len(kept) + 1 + len(key) <= LONGEST_VALUE:
            kept = f"{kept} {key}".strip()
    return kept


def tags_as_mapping(tags: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A list of tags as a mapping; IoT may leave out the value."""
    return {tag["Key"]: tag.get("Value", "") for tag in tags}


def refuse_unowned_change(
    what: str, ownership: Ownership, tags: Mapping[str, str], changes: Sequence[Change], *, adopted: bool
) -> None:
    """See that only what is ours is changed, or what the user gave us.

    Raises:
        Problem: somebody else's thing would have to be changed.
    """
    # What is known only after apply may turn out to be what is there: then there is nothing to refuse.
    fields = ", ".join(change.field for change in changes if change.new is not LATER)
    if fields and not adopted and not ownership.owns(tags):
        raise Problem(
            f"{what} exists, {NOT_OWNED}, and differs in: {fields}",
            where=ownership.resource,
            mend=f"Choose another name in the workflow, or let emflow change it: --adopt {ownership.resource}",
        )


def digest_of(facts: Any) -> str:
    """The SHA-256 of JSON facts, in hexadecimal, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
