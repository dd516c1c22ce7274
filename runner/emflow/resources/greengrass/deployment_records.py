"""Which components of a target which workflow put there: each deployment of a workflow records it in its tags.

A target has one deployment, which everybody revises. So the workflow's last one may lie under any number of others'
revisions, and is searched for until it is found: by tags, where that is allowed, and revision by revision otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from emflow.engine.clients import Clients
from emflow.engine.scheduler import read_parallel
from emflow.json_text import from_json
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.ownership import LONGEST_VALUE, WORKFLOW_TAG, Ownership
from emflow.resources.tag_search import find_tagged_if_allowed
from emflow.workflow.model import AGENT_COMPONENT

COMPONENTS_TAG = "emflow:components"
"""Holds the names of components that the workflow put there, separated by spaces; what does not fit is continued in
`emflow:components:2` and so on."""

TARGET_TAG = "emflow:target"
"""Holds the target of a deployment, such as `thing/core-1`, so that earlier targets are found by tags."""

SETTINGS_TAG = "emflow:settings"
"""Holds, in the same way, which of AWS's components the workflow has configured."""

NEWEST = 20
"""How many of a target's newest revisions are read even when a search by tags did not find them: it may be behind."""


def names_as_tags(names: Iterable[str], tag: str = COMPONENTS_TAG) -> dict[str, str]:
    """Names of components as tags of a deployment."""
    values = [""]
    for name in sorted(names):
        if len(values[-1]) + 1 + len(name) > LONGEST_VALUE:
            values.append("")
        values[-1] = f"{values[-1]} {name}".strip()
    return {f"{tag}:{number}" if number > 1 else tag: value for number, value in enumerate(values, 1)}


def names_in_tags(tags: Mapping[str, str], tag: str = COMPONENTS_TAG) -> set[str]:
    """The names that `names_as_tags` put into the tags."""
    # Only what `names_as_tags` numbers: another tag may begin in the same way.
    continued = re.compile(rf"{re.escape(tag)}(:[0-9]+)?")
    return {name for key, value in tags.items() if continued.fullmatch(key) for name in value.split()}


@dataclass(frozen=True)
class TargetRecords:
    """Who put what on a target.

    Args:
        put: names of the components that this workflow's last deployment put there.
        configured: those of AWS's components that it configured.
        others: components that other workflows' last deployments put there: name → workflow.
    """

    put: frozenset[str] = frozenset()
    configured: frozenset[str] = frozenset()
    others: Mapping[str, str] = field(default_factory=dict)


def latest_deployment(clients: Clients, target: str) -> dict[str, Any] | None:
    """The target's latest deployment, whole; None when it never had one."""
    listing = clients("greengrassv2").get_paginator("list_deployments")
    pages = listing.paginate(targetArn=target, historyFilter="LATEST_ONLY")
    latest = next((each["deploymentId"] for page in pages for each in page["deployments"]), "")
    return _deployment_details(clients, latest) if latest else None


def records_of(clients: Clients, target: str, ownership: Ownership) -> TargetRecords:
    """What the deployments of a target (an ARN) record."""
    last = _last_tags_by_workflow(clients, target)
    own = last.pop(ownership.workflow, {})
    others = {name: workflow for workflow, tags in last.items() for name in names_in_tags(tags)}
    return TargetRecords(frozenset(names_in_tags(own)), frozenset(names_in_tags(own, SETTINGS_TAG)), others)


def users_of(clients: Clients, ownership: Ownership, names: Collection[str]) -> dict[str, str]:
    """Which of these components are in a target's latest deployment without being this workflow's to remove from it.

    Returns:
        The name of a component → who has it where, for people.
    """
    latest = _latest_deployments(clients)
    there = {
        each["targetArn"]: each["components"].keys() & set(names)
        for each in latest
        if each["components"].keys() & set(names)
    }
    records = read_parallel({target: partial(records_of, clients, target, ownership) for target in sorted(there)})
    found: dict[str, str] = {}
    for target, record in records.items():
        for name in sorted(there[target]):
            if workflow := record.others.get(name):
                found[name] = f"{workflow} deploys it too"
            elif name not in record.put:
                place = target.rpartition(":")[2]
                found.setdefault(name, f"the deployment of {place} has it, and not by this workflow")
    return found


def users_of_fleet(clients: Clients, ownership: Ownership, fleet: str) -> list[str]:
    """For people: others than the workflow whose devices run a fleet's agent, by the targets' latest deployments."""
    targets = [
        each["targetArn"]
        for each in _latest_deployments(clients)
        if _agents_fleet(each["components"].get(AGENT_COMPONENT) or {}) == fleet
    ]
    records = read_parallel({target: partial(records_of, clients, target, ownership) for target in sorted(targets)})
    found = []
    for target, record in records.items():
        place = target.rpartition(":")[2]
        found += [f"{workflow} runs its agent on {place}" for workflow in sorted(set(record.others.values()))]
        if not record.put and not record.others:
            found.append(f"the deployment of {place} runs its agent, and is not by this workflow")
    return found


def _agents_fleet(agent: Mapping[str, Any]) -> str:
    return str(merged_configuration(agent).get("DeviceFleetName", ""))


def merged_configuration(component: Mapping[str, Any]) -> dict[str, Any]:
    """What a component of a deployment merges into its configuration.

    Others write deployments too: of what is no JSON object, nothing is known.
    """
    try:
        merge = from_json((component.get("configurationUpdate") or {}).get("merge") or "{}")
    except ValueError:
        return {}
    return merge if isinstance(merge, dict) else {}


def _latest_deployments(clients: Clients) -> list[dict[str, Any]]:
    """The latest deployment of every target of the region."""
    pages = clients("greengrassv2").get_paginator("list_deployments").paginate(historyFilter="LATEST_ONLY")
    identities = [each["deploymentId"] for page in pages for each in page["deployments"]]
    found = read_parallel({each: partial(_deployment_details, clients, each) for each in identities})
    return [each for each in found.values() if each]


def _last_tags_by_workflow(clients: Clients, target: str) -> dict[str, Mapping[str, str]]:
    """The tags of each workflow's last deployment to a target, by the workflow's name."""
    found: dict[str, Any] = read_parallel(
        {
            "listed": partial(_revisions, clients, target),
            "tagged": partial(find_tagged_if_allowed, clients, "greengrass", {COMPONENTS_TAG: ()}),
        }
    )
    listed: list[str] = found["listed"]
    searched = found["tagged"] is not None
    tags = {arn.rpartition(":")[2]: each for arn, each in (found["tagged"] or {}).items()}
    unknown = [each for each in (listed[-NEWEST:] if searched else listed) if each not in tags]
    read = read_parallel({each: partial(_deployment_details, clients, each) for each in unknown})
    tags |= {identity: each.get("tags") or {} for identity, each in read.items() if each}
    last: dict[str, Mapping[str, str]] = {}
    for identity in listed:
        if WORKFLOW_TAG in tags.get(identity, {}):
            last[tags[identity][WORKFLOW_TAG]] = tags[identity]
    return last


def _revisions(clients: Clients, target: str) -> list[str]:
    """The identities of all of a target's deployments, the newest last."""
    pages = clients("greengrassv2").get_paginator("list_deployments").paginate(targetArn=target, historyFilter="ALL")
    found = [each for page in pages for each in page["deployments"]]
    return [each["deploymentId"] for each in sorted(found, key=lambda each: each["creationTimestamp"])]


def _deployment_details(clients: Clients, identity: str) -> dict[str, Any] | None:
    found = none_if_missing(lambda: clients("greengrassv2").get_deployment(deploymentId=identity))
    return {**found, "components": found.get("components") or {}} if found else None
