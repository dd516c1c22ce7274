"""A component of ours: its recipe, published as the next version when, and only when, something in it changed.

A component version never changes, and Greengrass does not say whether two are the same; so each version that we make
carries the digest of its recipe (without the version) and its bundle as a tag. The version to deploy is the one that
has today's digest, whichever it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import is_missing
from emflow.engine.resource import Action, Change, Diff, Inputs, Observed, Outputs, RunContext
from emflow.engine.scheduler import read_parallel
from emflow.problems import Problem
from emflow.recipes.components import WorkflowComponent
from emflow.resources.aws_calls import none_if_missing, poll
from emflow.resources.ownership import COMPONENT, DIGEST_TAG, Ownership, digest_of
from emflow.versions import is_version, parse_version, sort_key

# Greengrass component versions: how they are found, and how one becomes deployable.


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
    """The versions of a component that carry a workflow's mark, however far back, the newest first."""
    found = read_parallel(
        {each: partial(describe, clients, component_arn(clients, name, each)) for each in list_versions(clients, name)}
    )
    return [version for version, each in found.items() if each and ownership.owns(each["tags"])]


def delete_owned_versions(clients: Clients, name: str, ownership: Ownership) -> None:
    """Delete every version of a component that carries a workflow's mark."""
    for version in owned_versions(clients, name, ownership):
        arn = component_arn(clients, name, version)
        none_if_missing(partial(clients("greengrassv2").delete_component, arn=arn))


def name_and_version(arn: str) -> tuple[str, str]:
    """What a component version's ARN is about; two empty texts for the ARN of something else."""
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
    told = ""
    for _ in poll(run, PATIENCE):
        found = describe(clients, arn)
        state = found["state"] if found else "not known yet"
        if state == "DEPLOYABLE":
            return
        if found and state not in BECOMING:
            raise Problem(f"{arn} is {state}: {found['message'] or 'no reason given'}", where=where)
        if state != told:
            run.waiting(state)
            told = state
    raise Problem(f"{arn} is still {told} after {PATIENCE:.0f} s", where=where, mend="RunContext it again: it goes on.")


AUTO = "auto"
LOOK_BACK = 20
"""How many versions are looked at, from the newest, for one with the same content."""


def own_component_id(name: str) -> str:
    """The resource that is one of the workflow's `components`."""
    return f"component/{name}"


@dataclass(frozen=True)
class ComponentVersion:
    """The application component, or one of the workflow's `components`. `needs`: what stores its zip."""

    ours: WorkflowComponent
    ownership: Ownership
    needs: frozenset[str] = frozenset()
    retry_failed: bool = False

    @property
    def id(self) -> str:
        return COMPONENT if self.ours.is_application else own_component_id(self.ours.name)

    @property
    def name(self) -> str:
        return self.ours.name

    @property
    def version(self) -> str:
        """As the workflow has it: `auto`, or three numbers."""
        return self.ours.version

    @cached_property
    def digest(self) -> str:
        """Of the recipe apart from its version, and with the bundle's URI of the bundle too."""
        return digest_of(self.ours.recipe("0.0.0"))

    def observe(self, clients: Clients) -> Observed | None:
        there = list_versions(clients, self.name)
        look = {version: partial(self._describe, clients, version) for version in there[:1]}
        found: dict[str, Any] = read_parallel(look)
        if not self._recognised(found):
            found |= read_parallel(
                {version: partial(self._describe, clients, version) for version in there[1:LOOK_BACK]}
            )
        if self.version != AUTO and self.version in there and self.version not in found:
            found[self.version] = self._describe(clients, self.version)
        return {"versions": {version: each for version, each in found.items() if each}} if there else None

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        _ = self.digest  # a recipe that would not work is refused here, before anything of the workflow is made
        found: dict[str, Any] = observed["versions"] if observed else {}
        newest = max(found, key=sort_key, default="")
        if self.version != AUTO:
            return self._explicit(found, newest)
        same = [version for version, each in found.items() if self._same(each)]
        if same:
            version = max(same, key=sort_key)
            if found[version]["state"] != "FAILED":
                return self._settled(version, found[version]["state"])
            self._refuse_failed(version, found[version])
        return self._new(newest, next_patch(newest))

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        version = diff.outputs["version"]
        if diff.parameters["create"]:
            recipe = self.ours.recipe(version)
            try:
                clients("greengrassv2").create_component_version(
                    inlineRecipe=recipe.encode(), tags=self.ownership.tags(self.digest)
                )
            except (ClientError, BotoCoreError):
                # Perhaps an earlier try went through and its answer was lost.
                found = self._describe(clients, version)
                if found is None:
                    raise
                if not self._same(found):
                    raise Problem(
                        f"{self.name} {version} has just been made by somebody else",
                        where=self.id,
                        mend="RunContext it again.",
                    ) from None
        wait_deployable(clients, component_arn(clients, self.name, version), run, self.id)
        return diff.outputs

    def _describe(self, clients: Clients, version: str) -> dict[str, Any] | None:
        return describe(clients, component_arn(clients, self.name, version))

    def _recognised(self, found: dict[str, Any]) -> bool:
        """Whether one of these is what is wanted. A recipe that would not work is told by `diff`, not to `destroy`."""
        try:
            return any(self._same(each) for each in found.values())
        except Problem:
            return False

    def _same(self, found: dict[str, Any] | None) -> bool:
        return found is not None and found["tags"].get(DIGEST_TAG) == self.digest

    def _explicit(self, found: dict[str, Any], newest: str) -> Diff:
        there = found.get(self.version)
        if there is None:
            return self._new(newest, self.version)
        if not self._same(there):
            raise Problem(
                f"{self.name} {self.version} exists already, with other content; a component version never changes",
                where=self.id,
                mend=f"Set {self.ours.key}.version to {next_patch(newest)}, or to auto.",
            )
        if there["state"] == "FAILED":
            raise Problem(
                f"{self.name} {self.version} FAILED: {there['message'] or 'no reason given'}",
                where=self.id,
                mend=f"Mend that, and set {self.ours.key}.version to {next_patch(newest)}, or to auto.",
            )
        return self._settled(self.version, there["state"])

    def _settled(self, version: str, state: str) -> Diff:
        """A version that is there; it may still be on its way to being deployable."""
        outputs = {"version": version}
        if state in BECOMING:
            change = Change("state", state, "DEPLOYABLE")
            return Diff(Action.UPDATE, (change,), outputs, parameters={"create": False})
        return Diff(Action.NONE, outputs=outputs)

    def _new(self, newest: str, version: str) -> Diff:
        action = Action.UPDATE if newest else Action.CREATE
        change = Change("version", newest or None, version)
        return Diff(action, (change,), {"version": version}, parameters={"create": True})

    def _refuse_failed(self, version: str, found: dict[str, Any]) -> None:
        if not self.retry_failed:
            raise Problem(
                f"{self.name} {version} FAILED: {found['message'] or 'no reason given'}",
                where=self.id,
                mend="Mend that in the workflow; or publish it again as the next version: emflow apply --retry-failed",
            )
