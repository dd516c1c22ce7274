"""Who uses a role, and who put what on it, so that several workflows can share one.

Each workflow has an inline policy of its own name. A managed policy on a role does not say who attached it; so a
workflow that wants some notes on the role, in a tag of its own name and before it attaches any, those that nobody else
attached: what is not there yet, and what another workflow has noted. What is there and noted by nobody is somebody
else's, and is never taken off. A workflow that goes takes off what it noted and no other did, and then its note.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from emflow.engine.clients import Clients
from emflow.engine.resource import InUse
from emflow.engine.work import together
from emflow.resources.answers import unless_missing
from emflow.resources.ownership import by_key

NOTE_TAG = "emflow:policies:"
"""Begins the tag's key; the workflow's name follows. The value: names of managed policies, with spaces between them."""


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
    return by_key([tag for page in pages for tag in page["Tags"]])


def note_key(workflow: str) -> str:
    """The key of a workflow's note."""
    return f"{NOTE_TAG}{workflow}"


def noted(role_tags: Mapping[str, str]) -> dict[str, set[str]]:
    """The notes on a role: workflow → names of managed policies."""
    return {
        key.removeprefix(NOTE_TAG): set(value.split()) for key, value in role_tags.items() if key.startswith(NOTE_TAG)
    }


def to_note(wanted: Iterable[str], there: Collection[str], notes: Mapping[str, set[str]]) -> str:
    """What a workflow notes of the managed policies that it wants (ARNs), with those that are on the role (ARNs)."""
    shared = set[str]().union(*notes.values())
    return " ".join(sorted(short(arn) for arn in wanted if arn not in there or short(arn) in shared))


def own_alone(workflow: str, notes: Mapping[str, set[str]]) -> set[str]:
    """Names of the managed policies that this workflow noted and no other did."""
    others = set[str]().union(*(names for name, names in notes.items() if name != workflow))
    return notes.get(workflow, set()) - others


def short(arn: str) -> str:
    """The name of a managed policy."""
    return arn.rpartition("/")[2]


def by_others(clients: Clients, role: str, workflow: str) -> list[str]:
    """What shows that others than this workflow use a role: their inline policies, and workflows' notes."""
    iam = clients("iam")
    found: dict[str, Any] = together(
        {
            "inline": lambda: unless_missing(lambda: inline(iam, role)) or [],
            "noted": lambda: noted(unless_missing(lambda: tags(iam, role)) or {}),
        }
    )
    names = [name for name in found["inline"] if name != inline_name(workflow)]
    noting = {inline_name(name) for name in found["noted"] if name != workflow}
    return [*names, *sorted(noting - set(names))]


def reason(others: list[str]) -> InUse | None:
    """Why `destroy` leaves a role, and what leads to it, where others use it; None where nobody does."""
    return InUse(f"others use the role: it has their policies {', '.join(others)}") if others else None
