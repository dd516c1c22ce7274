"""What is different about a resource since a plan was made, in words that people know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORDS: Mapping[str, str] = {
    "arn": "its ARN",
    "component": "the component version in Greengrass",
    "configured": "the record of the settings that this workflow made on the target",
    "details": "the list of what is to be removed",
    "encryption": "the default encryption",
    "found": "the list of what earlier forms of the workflow left",
    "gone": "the list of deployed components whose version no longer exists",
    "inline": "the inline policy",
    "jobs": "the list of jobs",
    "kms_key": "the encryption key",
    "known": "IoT's knowledge of the target",
    "latest": "the target's latest deployment",
    "lifecycle": "the list of lifecycle rules",
    "listed": "the fleet's list of devices",
    "location": "the place for captures",
    "managed": "the list of attached managed policies",
    "members": "the thing group's list of devices",
    "notes": "the record of managed policies that workflows share",
    "others": "the list of others who use it",
    "ours": "the mark that says which workflow made it",
    "ownership": "the object ownership",
    "policy": "the policy",
    "public": "the newest version of a component of AWS",
    "public_access": "the block of public access",
    "put": "the record of the components that this workflow put on the target",
    "role": "the role that it points at",
    "seconds": "the lifetime of the credentials",
    "session": "the longest session",
    "sha256": "the content",
    "tags": "the set of tags",
    "trust": "the trust policy",
    "unseen": "the permission to look for it",
    "versioning": "the versioning",
    "versions": "the list of versions",
    "workflow": "the workflow that stored it",
}
"""Names of what is observed, for people. What has no entry is called by its own name."""

INNER = frozenset({"found", "listed", "public_access", "tags", "versions"})
"""Where the second level is a name that people know, such as a device's or a tag's."""

PLANNED: Mapping[str, str] = {
    "name": "would have another name now",
    "action": "something else would be done now",
    "changes": "would be changed to other values now",
}


def moved(name: str, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """What is different about one resource, a line each. Both as they are in a plan's document."""
    if before is None:
        return [f"{name}: was not part of it"]
    was, found = before["observed"], now["observed"]
    if was is None and found is not None:
        return [f"{name}: did not exist, and does now"]
    if was is not None and found is None:
        return [f"{name}: existed, and does no longer"]
    if was != found:
        keys = [key for key in {**was, **found} if was.get(key) != found.get(key)]
        # What had nothing in it had no keys in it either: then the whole of it has come or gone.
        whole = {**was, **found}
        lines = dict.fromkeys(_words(_parent(key) if _parent(key) in whole else key) for key in keys)
        return [f"{name}: {words} has changed" for words in lines]
    # The same world: what differs came from files beside the workflow, such as the model.
    return [f"{name}: {words}" for key, words in PLANNED.items() if before[key] != now[key]]


def _words(key: str) -> str:
    parent, _, inner = key.partition(".")
    words = WORDS.get(parent, parent)
    return f"{words} ({inner})" if inner and (parent in INNER or parent not in WORDS) else words


def _parent(key: str) -> str:
    return key.partition(".")[0]
