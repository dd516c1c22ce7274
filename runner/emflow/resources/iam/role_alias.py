"""The IoT role alias: the name under which devices get the role's credentials.

The fleet could make one itself (EnableIotRoleAlias), always as `SageMakerEdge-<fleet>` and for one hour; made here, it
has the workflow's name and duration, and is there before the first device asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import error_code
from emflow.engine.resource import Diff, Inputs, Observed, Outputs, RunContext
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.iam.role import policies_of_others, reason
from emflow.resources.ownership import (
    NOT_OWNED,
    ROLE,
    ROLE_ALIAS,
    Ownership,
    added_and_removed,
    refuse_unowned_change,
    tags_as_list,
    tags_as_mapping,
)


@dataclass(frozen=True)
class RoleAlias:
    """A role alias. `seconds` is how long its credentials last, 900 to 43200; None leaves that as it is."""

    name: str
    seconds: int | None
    ownership: Ownership
    adopted: bool = False

    @property
    def id(self) -> str:
        return ROLE_ALIAS

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({ROLE})

    def observe(self, clients: Clients) -> Observed | None:
        iot = clients("iot")
        found = none_if_missing(lambda: iot.describe_role_alias(roleAlias=self.name)["roleAliasDescription"])
        if found is None:
            return None
        role = found.get("roleArn")
        name = role.rpartition("/")[2] if role else None
        return {
            "arn": found["roleAliasArn"],
            "role": role,
            "seconds": found.get("credentialDurationSeconds"),
            "others": policies_of_others(clients, name, self.ownership.workflow) if name else [],
            "tags": _tags(iot, found["roleAliasArn"]),
        }

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        have = observed or {}
        want = {
            "role": inputs(ROLE, "arn"),
            "seconds": have.get("seconds") if self.seconds is None else self.seconds,
            "tags": self.ownership.merged_with(have.get("tags")),
        }
        diff = Diff.between(want, observed, outputs={"arn": observed["arn"]} if observed else {})
        if observed is not None:
            refuse_unowned_change(
                f"role alias {self.name}", self.ownership, observed["tags"], diff.changes, adopted=self.adopted
            )
        return diff

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        iot = clients("iot")
        asked: dict[str, Any] = {"roleAlias": self.name, "roleArn": inputs(ROLE, "arn")}
        if self.seconds is not None:
            asked["credentialDurationSeconds"] = self.seconds
        if "arn" not in diff.outputs:
            try:
                return {"arn": iot.create_role_alias(**asked, tags=self.ownership.tag_list())["roleAliasArn"]}
            except (iot.exceptions.ResourceAlreadyExistsException, BotoCoreError):
                # Made since we looked, perhaps by a call of ours whose answer was lost.
                found = self.observe(clients)
                if found is None:
                    raise
                diff = self.diff(found, inputs)
        new = {change.field: change for change in diff.changes}
        if new.keys() & {"role", "seconds"}:
            iot.update_role_alias(**asked)
        if "tags" in new:
            put, removed = added_and_removed(new["tags"])
            if put:
                iot.tag_resource(resourceArn=diff.outputs["arn"], tags=tags_as_list(put))
            if removed:
                iot.untag_resource(resourceArn=diff.outputs["arn"], tagKeys=removed)
        return diff.outputs

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        return reason(observed["others"]) if self.ownership.owns(observed["tags"]) else NOT_OWNED

    def delete(self, clients: Clients, run: RunContext) -> None:
        none_if_missing(lambda: clients("iot").delete_role_alias(roleAlias=self.name))


def _tags(iot: Any, arn: str) -> dict[str, str]:
    pages = iot.get_paginator("list_tags_for_resource").paginate(resourceArn=arn)
    try:
        return tags_as_mapping([tag for page in pages for tag in page["tags"]])
    except ClientError as error:
        # Some endpoints that stand in for AWS keep no tags here; then nothing shows that the alias is ours.
        if error_code(error) == "UnknownOperationException":
            return {}
        raise
