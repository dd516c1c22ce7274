"""Ownership: tags on a resource in AWS say which workflow made it, in which region.

The tags are written by the call that makes the resource, and never later. So a resource of a workflow always has them.
A resource that the workflow did not make never gets them, even if the workflow uses it, so `destroy` never removes it.
The user's own tags (`aws.tags`) are kept up to date on the workflow's resources. Only one tag may be written to a
resource that the workflow did not make: the list of attached policies on a shared role (`iam.role`).

A workflow that is applied in two regions has two sets of resources, and neither owns the other's. Earlier versions
wrote no region: such a resource belongs to the region that it lives in. A role lives in none; `iam.shared_role` looks
for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emflow.engine.resource import KNOWN_AFTER_APPLY, Change, FieldLabel
from emflow.json_text import to_json
from emflow.problems import Problem

WORKFLOW_TAG = "emflow:workflow"
REGION_TAG = "emflow:region"
RESOURCE_TAG = "emflow:resource"
DIGEST_TAG = "emflow:digest"
USER_TAGS_TAG = "emflow:tags"
"""Holds the keys of the user's tags, with spaces between them, so that one that left the workflow can be removed."""

LONGEST_VALUE = 256
"""Characters of a tag's value."""

NOT_OWNED = "it was not made by this workflow"
HOLDS_DATA = "data; --delete-data removes it"

TAGS_LABEL = FieldLabel("the set of tags", named_items=True)
OTHERS_LABEL = FieldLabel("the list of others who use it")
OWNED_LABEL = FieldLabel("the tag that says which workflow made it")


@dataclass(frozen=True)
class Ownership:
    """Which part of which workflow makes a thing, in which region. `user_tags`: the user's own tags for it."""

    workflow: str
    resource: str
    user_tags: Mapping[str, str] = field(default_factory=dict)
    region: str = ""

    def tags(self, digest: str = "") -> dict[str, str]:
        """For APIs that take a mapping. `digest`: of the content of a thing that cannot be changed."""
        return {
            **self.user_tags,
            **({USER_TAGS_TAG: _keys(self.user_tags)} if self.user_tags else {}),
            WORKFLOW_TAG: self.workflow,
            RESOURCE_TAG: self.resource,
            **({REGION_TAG: self.region} if self.region else {}),
            **({DIGEST_TAG: digest} if digest else {}),
        }

    def tag_list(self, digest: str = "") -> list[dict[str, str]]:
        """For APIs that take a list."""
        return tags_as_list(self.tags(digest))

    def owns(self, tags: Mapping[str, str]) -> bool:
        """Whether the workflow made the thing that has these tags, in this region.

        Tags of an earlier version have no region, and count: AWS shows what lives in this region only.
        """
        return tags.get(WORKFLOW_TAG) == self.workflow and tags.get(REGION_TAG, self.region) == self.region

    def merged_with(self, tags: Mapping[str, str] | None) -> dict[str, str]:
        """The tags that a thing should have which has these now (None if it does not exist yet).

        A resource that the workflow did not make keeps its tags. One that it made keeps tags that others added, and
        loses the user's tags that are no longer in the workflow.
        """
        if tags is None:
            return self.tags()
        if not self.owns(tags):
            return dict(tags)
        dropped = {*tags.get(USER_TAGS_TAG, "").split(" "), USER_TAGS_TAG} - self.tags().keys()
        return {**{key: value for key, value in tags.items() if key not in dropped}, **self.tags()}


def owner_in(tags: Mapping[str, str]) -> str:
    """The workflow that made the thing with these tags, with its region if they have one; empty when none did."""
    workflow, region = tags.get(WORKFLOW_TAG, ""), tags.get(REGION_TAG)
    return f"{workflow} in {region}" if workflow and region else workflow


def tags_as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """A mapping of tags as a list, as most APIs want it."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def added_and_removed(change: Change) -> tuple[dict[str, str], list[str]]:
    """The tags that a change adds or sets, and the keys that it removes."""
    old: Mapping[str, str] = change.old or {}
    new: Mapping[str, str] = change.new
    added = {key: value for key, value in new.items() if old.get(key) != value}
    return added, [key for key in old if key not in new]


def _keys(tags: Mapping[str, str]) -> str:
    """The keys, as many as fit into one value; a tag whose key does not fit is not removed with the workflow's."""
    keys = ""
    for key in sorted(tags):
        if len(keys) + 1 + len(key) <= LONGEST_VALUE:
            keys = f"{keys} {key}".strip()
    return keys


def tags_as_mapping(tags: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A list of tags as a mapping; IoT may leave out the value."""
    return {tag["Key"]: tag.get("Value", "") for tag in tags}


def refuse_unowned_change(
    what: str,
    ownership: Ownership,
    tags: Mapping[str, str],
    changes: Sequence[Change],
    *,
    adopted: bool,
    without_tags: str = "",
) -> None:
    """Check that a changed resource was made by the workflow, or that the user permitted the change.

    Args:
        without_tags: what it may mean that the resource has no tags at all.

    Raises:
        Problem: a resource that the workflow did not make would be changed without permission.
    """
    # A value that is known only after apply may turn out to be the one that is there: then nothing is to be refused.
    fields = ", ".join(change.field for change in changes if change.new is not KNOWN_AFTER_APPLY)
    if fields and not adopted and not ownership.owns(tags):
        raise Problem(
            f"{what} exists, {NOT_OWNED}, and differs in: {fields}",
            where=ownership.resource,
            mend=f"Choose another name in the workflow, or let emflow change it: --adopt {ownership.resource}"
            + ("" if tags or not without_tags else f". {without_tags}"),
        )


def refuse_shared_name(
    component: str, resource: str, versions: Mapping[str, Mapping[str, str]], ownership: Ownership, *, adopted: bool
) -> None:
    """Check that a version is published into the name of a component that is the workflow's, or nobody's yet.

    Args:
        versions: the versions that there are → their tags.

    Raises:
        Problem: all versions were made by others, and the user has not permitted it.
    """
    if not versions or adopted or any(ownership.owns(tags) for tags in versions.values()):
        return
    owner = next((owner for owner in map(owner_in, versions.values()) if owner), "")
    whose = f"it was made by workflow {owner}" if owner else NOT_OWNED
    raise Problem(
        f"component {component} exists, with version {next(iter(versions))}, and {whose}",
        where=resource,
        mend=f"Choose another name in the workflow, or let emflow publish into it: --adopt {resource}",
    )


def digest_of(facts: Any) -> str:
    """The SHA-256 of JSON facts, in hexadecimal, whatever the order of their keys."""
    return hashlib.sha256(to_json(facts, sort_keys=True).encode()).hexdigest()
