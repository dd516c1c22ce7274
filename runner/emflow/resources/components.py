"""Greengrass component versions: how they are found, and how one becomes deployable."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import missing
from emflow.engine.resource import Run
from emflow.engine.work import together
from emflow.problems import Problem
from emflow.resources.answers import unless_missing
from emflow.resources.aws_calls import looks
from emflow.resources.ownership import Mark

PATIENCE = 300.0
"""Seconds until a component version should be DEPLOYABLE; it takes one or two."""

BECOMING = frozenset({"REQUESTED", "INITIATED"})


def component_arn(clients: Clients, name: str, version: str = "") -> str:
    """The ARN of a component of this account, or of one version of it."""
    arn = clients.arn("greengrass", f"components:{name}")
    return f"{arn}:versions:{version}" if version else arn


def describe(clients: Clients, arn: str) -> dict[str, Any] | None:
    """One component version: `state`, `message` and `tags`; None when there is none."""
    try:
        found = clients("greengrassv2").describe_component(arn=arn)
    except ClientError as error:
        if missing(error):
            return None
        raise
    status = found.get("status", {})
    reasons = [status.get("message", ""), *(f"{key}: {why}" for key, why in status.get("errors", {}).items())]
    return {
        "state": status.get("componentState", "DEPLOYABLE"),
        "message": "; ".join(reason for reason in reasons if reason and reason != "NONE"),
        "tags": found.get("tags") or {},
    }


def versions(clients: Clients, name: str) -> list[str]:
    """The versions there are of a component of this account, the newest first."""
    greengrass = clients("greengrassv2")
    pages = greengrass.get_paginator("list_component_versions").paginate(arn=component_arn(clients, name))
    try:
        found = [each["componentVersion"] for page in pages for each in page["componentVersions"]]
    except ClientError as error:
        if missing(error):
            return []
        raise
    return sorted(found, key=version_key, reverse=True)


def ours(clients: Clients, name: str, mark: Mark) -> list[str]:
    """The versions of a component that carry a workflow's mark, however far back, the newest first."""
    found = together(
        {each: partial(describe, clients, component_arn(clients, name, each)) for each in versions(clients, name)}
    )
    return [version for version, each in found.items() if each and mark.is_on(each["tags"])]


def delete_ours(clients: Clients, name: str, mark: Mark) -> None:
    """Delete every version of a component that carries a workflow's mark."""
    for version in ours(clients, name, mark):
        arn = component_arn(clients, name, version)
        unless_missing(partial(clients("greengrassv2").delete_component, arn=arn))


def name_and_version(arn: str) -> tuple[str, str]:
    """What a component version's ARN is about; two empty texts for the ARN of something else."""
    match = re.search(r":components:([^:]+):versions:([^:]+)$", arn)
    return (match[1], match[2]) if match else ("", "")


def version_key(version: str) -> tuple[int, int, int, bool]:
    """For sorting semantic versions; a pre-release comes before its release, and what is no version before all."""
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(-.*)?(\+.*)?", version)
    if not match:
        return (-1, -1, -1, False)
    return (int(match[1]), int(match[2]), int(match[3]), match[4] is None)


def next_patch(version: str) -> str:
    """`1.2.4` after `1.2.3`; `1.0.0` after nothing."""
    if not version:
        return "1.0.0"
    major, minor, patch, _ = version_key(version)
    return f"{max(major, 0)}.{max(minor, 0)}.{patch + 1}"


def wait_deployable(clients: Clients, arn: str, run: Run, where: str) -> None:
    """Wait until a component version can be deployed.

    Raises:
        Problem: it never will, or not within `PATIENCE` seconds.
    """
    told = ""
    for _ in looks(run, PATIENCE):
        found = describe(clients, arn)
        state = found["state"] if found else "not known yet"
        if state == "DEPLOYABLE":
            return
        if found and state not in BECOMING:
            raise Problem(f"{arn} is {state}: {found['message'] or 'no reason given'}", where=where)
        if state != told:
            run.waiting(state)
            told = state
    raise Problem(f"{arn} is still {told} after {PATIENCE:.0f} s", where=where, mend="Run it again: it goes on.")
