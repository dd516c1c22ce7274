"""What the role may do: one inline policy of our own, or the workshop's managed ones, beside what others gave it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from emflow.engine.clients import Clients
from emflow.engine.resource import Diff, Inputs, Observed, Outputs, Run
from emflow.engine.work import together
from emflow.resources import policies
from emflow.resources.answers import unless_missing
from emflow.resources.marks import PERMISSIONS, ROLE, Mark, by_key
from emflow.resources.role import RoleName


@dataclass(frozen=True)
class Permissions:
    """What one workflow needs its role to be allowed.

    Args:
        inline: our own policy; None when the managed ones do.
        managed: ARNs of managed policies that the role needs at least.
        unneeded: ARNs of managed policies that an earlier apply may have attached; a role of ours loses them.
    """

    role: RoleName
    workflow: str
    inline: Mapping[str, Any] | None
    managed: tuple[str, ...]
    unneeded: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return PERMISSIONS

    @property
    def name(self) -> str:
        """The inline policy's."""
        return policies.inline_name(self.workflow)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({ROLE})

    def observe(self, clients: Clients) -> Observed | None:
        iam, role = clients("iam"), self.role.find(clients)
        if role is None:
            return None
        found = together(
            {
                "inline": lambda: unless_missing(
                    lambda: iam.get_role_policy(RoleName=role, PolicyName=self.name)["PolicyDocument"]
                ),
                "managed": lambda: unless_missing(lambda: policies.attached(iam, role)),
            }
        )
        attached = set(found["managed"] or ())
        if found["inline"] is None and not {*self.managed, *self.unneeded} & attached:
            return None
        return {**found, "ours": bool(attached & set(self.unneeded)) and self._ours(iam, role)}

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        attached = observed["managed"] or [] if observed else []
        wide = [arn for arn in attached if arn in self.unneeded]
        notes: tuple[str, ...] = ()
        if observed and wide and not observed["ours"]:
            names = ", ".join(arn.rpartition("/")[2] for arn in wide)
            notes = (f"{self.role} was not made by this workflow and keeps policies that it does not need: {names}",)
            wide = []
        kept = [arn for arn in attached if arn not in wide]
        want = {"inline": self.inline, "managed": [*kept, *(arn for arn in self.managed if arn not in attached)]}
        return Diff.between(want, observed, notes=notes)

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: Run) -> Outputs:
        iam, role = clients("iam"), inputs(ROLE, "name")
        for change in diff.changes:
            match change.field:
                case "inline" if change.new is None:
                    self._drop(iam, role)
                case "inline":
                    text = json.dumps(change.new)
                    iam.put_role_policy(RoleName=role, PolicyName=self.name, PolicyDocument=text)
                case "managed":
                    for arn in change.new:
                        if arn not in (change.old or ()):
                            iam.attach_role_policy(RoleName=role, PolicyArn=arn)
                    for arn in change.old or ():
                        if arn not in change.new:
                            unless_missing(partial(iam.detach_role_policy, RoleName=role, PolicyArn=arn))
        return {}

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        # Nobody can tell who attached a managed policy, so those stay on a role that stays.
        return None if observed["inline"] is not None else ""

    def delete(self, clients: Clients, run: Run) -> None:
        if role := self.role.find(clients):
            self._drop(clients("iam"), role)

    def _ours(self, iam: Any, role: str) -> bool:
        found = unless_missing(lambda: iam.get_role(RoleName=role)["Role"]) or {}
        return Mark(self.workflow, ROLE).is_on(by_key(found.get("Tags", [])))

    def _drop(self, iam: Any, role: str) -> None:
        unless_missing(lambda: iam.delete_role_policy(RoleName=role, PolicyName=self.name))
