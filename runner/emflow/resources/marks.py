"""What is ours and what is not: the names of resources, and the tags on what we made.

A tag is put on a thing when it is made, and only then. So what somebody else made never carries one, however often a
workflow has used it, and `destroy` never takes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

WORKFLOW_TAG = "emflow:workflow"
RESOURCE_TAG = "emflow:resource"
DIGEST_TAG = "emflow:digest"

NOT_OURS = "it was not made by this workflow"


@dataclass(frozen=True)
class Mark:
    """Says which part of which workflow made a thing."""

    workflow: str
    resource: str

    def tags(self, digest: str = "") -> dict[str, str]:
        """For APIs that take a mapping. `digest` stands for what cannot be changed in the thing."""
        return {
            WORKFLOW_TAG: self.workflow,
            RESOURCE_TAG: self.resource,
            **({DIGEST_TAG: digest} if digest else {}),
        }

    def tag_list(self, digest: str = "") -> list[dict[str, str]]:
        """For APIs that take a list."""
        return [{"Key": key, "Value": value} for key, value in self.tags(digest).items()]

    def is_on(self, tags: Mapping[str, str]) -> bool:
        """Whether the workflow made the thing that has these tags."""
        return tags.get(WORKFLOW_TAG) == self.workflow


def by_key(tags: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A list of tags as a mapping; IoT may leave out the value."""
    return {tag["Key"]: tag.get("Value", "") for tag in tags}


def refuse_foreign(what: str, mark: Mark, tags: Mapping[str, str], changes: Sequence[Change], *, adopted: bool) -> None:
    """See that only what is ours is changed, or what the user gave us.

    Raises:
        Problem: somebody else's thing would have to be changed.
    """
    # What is known only after apply may turn out to be what is there: then there is nothing to refuse.
    fields = ", ".join(change.field for change in changes if change.new is not LATER)
    if fields and not adopted and not mark.is_on(tags):
        raise Problem(
            f"{what} exists, {NOT_OURS}, and differs in: {fields}",
            where=mark.resource,
            mend=f"Choose another name in the workflow, or let emflow change it: --adopt {mark.resource}",
        )


def digest_of(facts: Any) -> str:
    """The SHA-256 of JSON facts, in hexadecimal, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
