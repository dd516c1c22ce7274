"""What the role may do: one inline policy of our own, or the workshop's managed ones, beside what others gave it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from emflow.engine.clients import Clients
from emflow.engine.resource import Diff, Inputs, Observed, Outputs, RunContext
from emflow.engine.scheduler import read_parallel
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.iam import role as role_use
from emflow.resources.iam.role import RoleName
from emflow.resources.ownership import PERMISSIONS, ROLE, Ownership, tags_as_list


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
        return role_use.inline_name(self.workflow)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({ROLE})

    def observe(self, clients: Clients) -> Observed | None:
        iam, role = clients("iam"), self.role.find(clients)
        if role is None:
            return None
        found: dict[str, Any] = read_parallel(
            {
                "inline": lambda: none_if_missing(
                    lambda: iam.get_role_policy(RoleName=role, PolicyName=self.name)["PolicyDocument"]
                ),
                "managed": lambda: none_if_missing(lambda: role_use.attached(iam, role)) or [],
                "tags": lambda: none_if_missing(lambda: role_use.tags(iam, role)) or {},
            }
        )
        notes = role_use.notes_on(found["tags"])
        if found["inline"] is None and not {*self.managed, *self.unneeded} & {*found["managed"]} and not notes:
            return None
        ours = Ownership(self.workflow, ROLE).owns(found.pop("tags"))
        return {**found, "notes": notes, "ours": ours}

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        have = {"inline": None, "managed": [], "notes": {}, "ours": False, **(observed or {})}
        attached, notes = have["managed"], have["notes"]
        alone = role_use.noted_only_by(self.workflow, notes)
        others = set[str]().union(*(names for name, names in notes.items() if name != self.workflow))
        # On a role of ours, what nobody noted goes too: somebody attached it by hand.
        wide = [arn for arn in attached if arn in self.unneeded and role_use.short(arn) not in others]
        gone = [arn for arn in wide if have["ours"] or role_use.short(arn) in alone]
        said: tuple[str, ...] = ()
        if kept := [role_use.short(arn) for arn in wide if arn not in gone]:
            names = ", ".join(kept)
            said = (f"{self.role} was not made by this workflow and keeps policies that it does not need: {names}",)
        stay = [arn for arn in attached if arn not in gone]
        mine = notes.get(self.workflow)
        want = {
            "note": role_use.note_for(self.managed, attached, notes) if self.managed else None,
            "inline": self.inline,
            "managed": [*stay, *(arn for arn in self.managed if arn not in attached)],
        }
        now = {**have, "note": None if mine is None else " ".join(sorted(mine))}
        return Diff.between(want, now if observed is not None else None, notes=said)

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        iam, role = clients("iam"), inputs(ROLE, "name")
        new = {change.field: change for change in diff.changes}
        # The note comes first and goes last: whenever we are stopped, it tells what is ours.
        if "note" in new and new["note"].new is not None:
            iam.tag_role(RoleName=role, Tags=tags_as_list({role_use.note_key(self.workflow): new["note"].new}))
        if "inline" in new and new["inline"].new is None:
            self._drop(iam, role)
        elif "inline" in new:
            text = json.dumps(new["inline"].new)
            iam.put_role_policy(RoleName=role, PolicyName=self.name, PolicyDocument=text)
        if "managed" in new:
            old, wanted = new["managed"].old or (), new["managed"].new
            for arn in wanted:
                if arn not in old:
                    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
            self._detach(iam, role, [arn for arn in old if arn not in wanted])
        if "note" in new and new["note"].new is None:
            self._forget(iam, role)
        return {}

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        return None if observed["inline"] is not None or self.workflow in observed["notes"] else ""

    def delete(self, clients: Clients, run: RunContext) -> None:
        role = self.role.find(clients)
        found = self.observe(clients) if role else None
        if role is None or found is None:
            return
        iam, alone = clients("iam"), role_use.noted_only_by(self.workflow, found["notes"])
        self._drop(iam, role)
        self._detach(iam, role, [arn for arn in found["managed"] if role_use.short(arn) in alone])
        if self.workflow in found["notes"]:
            self._forget(iam, role)

    def _drop(self, iam: Any, role: str) -> None:
        none_if_missing(lambda: iam.delete_role_policy(RoleName=role, PolicyName=self.name))

    def _detach(self, iam: Any, role: str, arns: list[str]) -> None:
        for arn in arns:
            none_if_missing(partial(iam.detach_role_policy, RoleName=role, PolicyArn=arn))

    def _forget(self, iam: Any, role: str) -> None:
        none_if_missing(lambda: iam.untag_role(RoleName=role, TagKeys=[role_use.note_key(self.workflow)]))
