"""The IAM role that devices and SageMaker's jobs assume: made, or taken as it is and added to.

A role that is there already is usually the core device's own. Whom others let assume it may go on doing so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import missing
from emflow.engine.resource import Diff, Inputs, Observed, Outputs, Run
from emflow.resources import policies
from emflow.resources.marks import NOT_OURS, ROLE, Mark, by_key

SHORTEST_SESSION = 3600
"""IAM's least for MaxSessionDuration, in seconds, and its default."""


@dataclass(frozen=True)
class Role:
    """A role. `session_seconds`: what the role alias needs; its credentials may not outlast the role's session."""

    name: str
    mark: Mark
    session_seconds: int

    @property
    def id(self) -> str:
        return ROLE

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    def observe(self, clients: Clients) -> Observed | None:
        role = _role(clients("iam"), self.name)
        if role is None:
            return None
        return {
            "arn": role["Arn"],
            "trust": role["AssumeRolePolicyDocument"],
            "session": role.get("MaxSessionDuration", SHORTEST_SESSION),
            "tags": by_key(role.get("Tags", [])),
        }

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        have = observed or {}
        want = {
            "trust": policies.trusting(have.get("trust")),
            "session": max(self.session_seconds, have.get("session", SHORTEST_SESSION)),
        }
        return Diff.between(want, observed, outputs={"arn": have["arn"]} if have else {})

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: Run) -> Outputs:
        iam = clients("iam")
        if "arn" not in diff.outputs:
            try:
                return {"arn": self._create(iam)}
            except iam.exceptions.EntityAlreadyExistsException:
                # Made since we looked, perhaps by a call of ours whose answer was lost: add to what is there now.
                diff = self.diff(self.observe(clients), inputs)
        new = {change.field: change.new for change in diff.changes}
        if "trust" in new:
            iam.update_assume_role_policy(RoleName=self.name, PolicyDocument=json.dumps(new["trust"]))
        if "session" in new:
            iam.update_role(RoleName=self.name, MaxSessionDuration=new["session"])
        return diff.outputs

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        return None if self.mark.is_on(observed["tags"]) else NOT_OURS

    def delete(self, clients: Clients, run: Run) -> None:
        """Remove it with all policies on it: IAM deletes a bare role only."""
        iam = clients("iam")
        for policy in policies.attached(iam, self.name):
            iam.detach_role_policy(RoleName=self.name, PolicyArn=policy)
        for page in iam.get_paginator("list_role_policies").paginate(RoleName=self.name):
            for policy in page["PolicyNames"]:
                iam.delete_role_policy(RoleName=self.name, PolicyName=policy)
        iam.delete_role(RoleName=self.name)

    def _create(self, iam: Any) -> str:
        made = iam.create_role(
            RoleName=self.name,
            AssumeRolePolicyDocument=json.dumps(policies.trusting(None)),
            MaxSessionDuration=max(self.session_seconds, SHORTEST_SESSION),
            Description="Devices and SageMaker jobs of emflow workflows",
            Tags=self.mark.tag_list(),
        )
        return str(made["Role"]["Arn"])


def _role(iam: Any, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = iam.get_role(RoleName=name)["Role"]
    except ClientError as error:
        if missing(error):
            return None
        raise
    return found
