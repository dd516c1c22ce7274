"""Greengrass component versions: how they are named, found and deleted, and when one can be deployed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import is_missing
from emflow.engine.resource import RunContext
from emflow.engine.scheduler import read_parallel
from emflow.json_text import from_json
from emflow.problems import Problem
from emflow.resources.aws_calls import none_if_missing, poll
from emflow.resources.ownership import Ownership
from emflow.versions import is_version, parse_version, sort_key

PATIENCE = 300.0
"""Seconds until a component version should be DEPLOYABLE; it takes one or two."""

S3 = "s3://"

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
        if is_missing(error):
            return None
        raise
    status = found.get("status", {})
    reasons = [status.get("message", ""), *(f"{key}: {why}" for key, why in status.get("errors", {}).items())]
    return {
        "state": status.get("componentState", "DEPLOYABLE"),
        "message": "; ".join(reason for reason in reasons if reason and reason != "NONE"),
        "tags": found.get("tags") or {},
    }


def stored_artifacts(clients: Clients, arn: str) -> dict[str, str]:
    """The objects in S3 that a component version refers to: URI → SHA-256 in base64. Empty when there is no version."""
    greengrass = clients("greengrassv2")
    found = none_if_missing(lambda: greengrass.get_component(arn=arn, recipeOutputFormat="JSON")["recipe"])
    try:
        recipe = from_json(found or "{}")
    except ValueError:  # whoever answers is not Greengrass: nothing is known
        return {}
    listed = [artifact for manifest in _mappings(recipe, "Manifests") for artifact in _mappings(manifest, "Artifacts")]
    stored = {str(each.get("Uri", each.get("URI", ""))): str(each.get("Digest") or "") for each in listed}
    return {uri: digest for uri, digest in stored.items() if uri.lower().startswith(S3)}


def _mappings(document: Any, key: str) -> list[Mapping[str, Any]]:
    """The mappings in a list of a document; none where it is no such document."""
    many = document.get(key) if isinstance(document, Mapping) else None
    return [each for each in many if isinstance(each, Mapping)] if isinstance(many, list) else []


def list_versions(clients: Clients, name: str) -> list[str]:
    """The versions there are of a component of this account, the newest first."""
    greengrass = clients("greengrassv2")
    pages = greengrass.get_paginator("list_component_versions").paginate(arn=component_arn(clients, name))
    try:
        found = [each["componentVersion"] for page in pages for each in page["componentVersions"]]
    except ClientError as error:
        if is_missing(error):
            return []
        raise
    return sorted(found, key=sort_key, reverse=True)


def owned_versions(clients: Clients, name: str, ownership: Ownership) -> list[str]:
    """The versions of a component that the workflow made, all of them, the newest first."""
    found = read_parallel(
        {each: partial(describe, clients, component_arn(clients, name, each)) for each in list_versions(clients, name)}
    )
    return [version for version, each in found.items() if each and ownership.owns(each["tags"])]


def delete_owned_versions(clients: Clients, name: str, ownership: Ownership) -> None:
    """Delete every version of a component that the workflow made."""
    for version in owned_versions(clients, name, ownership):
        arn = component_arn(clients, name, version)
        none_if_missing(partial(clients("greengrassv2").delete_component, arn=arn))


def name_and_version(arn: str) -> tuple[str, str]:
    """The component and the version in an ARN; two empty texts where it is the ARN of something else."""
    match = re.search(r":components:([^:]+):versions:([^:]+)$", arn)
    return (match[1], match[2]) if match else ("", "")


def next_patch(version: str) -> str:
    """`1.2.4` after `1.2.3`; `1.0.0` after nothing."""
    return str(parse_version(version).finalize_version().bump_patch()) if is_version(version) else "1.0.0"


def wait_deployable(clients: Clients, arn: str, run: RunContext, where: str) -> None:
    """Wait until a component version can be deployed.

    Raises:
        Problem: it never will, or not within `PATIENCE` seconds.
    """
    reported = ""
    for _ in poll(run, PATIENCE):
        found = describe(clients, arn)
        state = found["state"] if found else "not known yet"
        if state == "DEPLOYABLE":
            return
        if found and state not in BECOMING:
            raise Problem(f"{arn} is {state}: {found['message'] or 'no reason given'}", where=where)
        if state != reported:
            run.waiting(state)
            reported = state
    raise Problem(
        f"{arn} is still {reported} after {PATIENCE:.0f} s", where=where, mend="Run it again: it continues to wait."
    )
