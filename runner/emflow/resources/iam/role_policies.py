"""The kind `permissions`: what the workflow lets its role do, by its own inline policy or the workshop's managed ones.

Whatever else is on the role stays. How several workflows share a role is in `iam.shared_role`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from emflow.engine.clients import Clients
from emflow.engine.resource import (
    NOT_MENTIONED,
    REMOVABLE,
    Diff,
    FieldLabel,
    Inputs,
    Observed,
    Outputs,
    Retention,
    RunContext,
)
from emflow.engine.scheduler import read_parallel
from emflow.json_text import to_json
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.iam import policy_documents, shared_role
from emflow.resources.iam.role import ROLE, RoleName, role_name, role_user
from emflow.resources.iam.shared_role import RoleUse, RoleUser, role_use
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.ownership import OWNED_LABEL, tags_as_list
from emflow.resources.tag_search import name_in_arn

PERMISSIONS = "access/permissions"


@dataclass(frozen=True)
class Permissions:
    """What one workflow needs its role to be allowed.

    Args:
        inline: our own policy; None when the managed ones do.
        managed: ARNs of managed policies that the role needs at least.
        unneeded: ARNs of managed policies that an earlier apply may have attached; a role of ours loses them.
    """

    role: RoleName
    user: RoleUser
    inline: Mapping[str, Any] | None
    managed: tuple[str, ...]
    unneeded: tuple[str, ...] = ()

    id: ClassVar[str] = PERMISSIONS
    needs: ClassVar[frozenset[str]] = frozenset({ROLE})
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "inline": FieldLabel("the inline policy"),
        "managed": FieldLabel("the list of attached managed policies"),
        "notes": FieldLabel("the record of managed policies that workflows share"),
        "ours": OWNED_LABEL,
        "earlier": FieldLabel("what an earlier version left there"),
    }

    @property
    def name(self) -> str:
        """The inline policy's."""
        return self.user.inline_name

    def observe(self, clients: Clients) -> Observed | None:
        iam, role = clients("iam"), self.role.find(clients)
        if role is None:
            return None
        found: dict[str, Any] = read_parallel(
            {
                "inline": lambda: none_if_missing(
                    lambda: iam.get_role_policy(RoleName=role, PolicyName=self.name)["PolicyDocument"]
                ),
                "managed": lambda: none_if_missing(lambda: shared_role.attached(iam, role)) or [],
                "use": lambda: role_use(clients, role, self.user),
            }
        )
        use: RoleUse = found.pop("use")
        marked = found["inline"] is not None or use.notes or use.left_by_earlier_versions
        if not marked and not {*self.managed, *self.unneeded} & {*found["managed"]}:
            return None
        return {**found, "notes": use.notes, "ours": use.made_here, "earlier": use.left_by_earlier_versions}

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        have = {"inline": None, "managed": [], "notes": {}, "ours": False, "earlier": [], **(observed or {})}
        attached, notes, user = have["managed"], have["notes"], str(self.user)
        alone = shared_role.noted_only_by(user, notes)
        others = set[str]().union(*(names for name, names in notes.items() if name != user))
        # From a role of the workflow, policies in no tag of a workflow are detached too: they were attached by hand.
        unneeded = [arn for arn in attached if arn in self.unneeded and name_in_arn(arn) not in others]
        detached = [arn for arn in unneeded if have["ours"] or name_in_arn(arn) in alone]
        warnings: tuple[str, ...] = ()
        if too_many := [name_in_arn(arn) for arn in unneeded if arn not in detached]:
            names = ", ".join(too_many)
            warnings = (f"{self.role} was not made by this workflow and keeps policies that it does not need: {names}",)
        remaining = [arn for arn in attached if arn not in detached]
        mine = None if self.user.earlier_note_key in have["earlier"] else notes.get(user)
        want = {
            "note": shared_role.note_for(self.managed, attached, notes) if self.managed else None,
            "inline": self.inline,
            "managed": [*remaining, *(arn for arn in self.managed if arn not in attached)],
            **({"earlier": []} if have["earlier"] else {}),
        }
        now = {**have, "note": None if mine is None else " ".join(sorted(mine))}
        return Diff.between(want, now if observed is not None else None, notes=warnings)

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        iam, role = clients("iam"), inputs.known(ROLE, "name")
        new = {change.field: change for change in diff.changes}
        # The note is written first and removed last: so it is right whenever the run is stopped.
        if "note" in new and new["note"].new is not None:
            iam.tag_role(RoleName=role, Tags=tags_as_list({self.user.note_key: new["note"].new}))
        if "inline" in new and new["inline"].new is None:
            self._drop(iam, role, self.name)
        elif "inline" in new:
            text = to_json(new["inline"].new)
            iam.put_role_policy(RoleName=role, PolicyName=self.name, PolicyDocument=text)
        if "managed" in new:
            old, wanted = new["managed"].old or (), new["managed"].new
            for arn in wanted:
                if arn not in old:
                    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
            self._detach(iam, role, [arn for arn in old if arn not in wanted])
        if "note" in new and new["note"].new is None:
            self._forget(iam, role, self.user.note_key)
        if "earlier" in new:  # what takes its place is on the role by now
            self._remove_earlier(iam, role, new["earlier"].old)
        return {}

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        has_own = observed["inline"] is not None or str(self.user) in observed["notes"] or observed["earlier"]
        return REMOVABLE if has_own else NOT_MENTIONED

    def delete(self, clients: Clients, run: RunContext) -> None:
        role = self.role.find(clients)
        found = self.observe(clients) if role else None
        if role is None or found is None:
            return
        iam, alone = clients("iam"), shared_role.noted_only_by(str(self.user), found["notes"])
        self._drop(iam, role, self.name)
        self._detach(iam, role, [arn for arn in found["managed"] if name_in_arn(arn) in alone])
        if str(self.user) in found["notes"]:
            self._forget(iam, role, self.user.note_key)
        self._remove_earlier(iam, role, found["earlier"])

    def _remove_earlier(self, iam: Any, role: str, names: list[str]) -> None:
        """Remove what an earlier version left: an inline policy, a note, or both."""
        if self.user.earlier_inline_name in names:
            self._drop(iam, role, self.user.earlier_inline_name)
        if self.user.earlier_note_key in names:
            self._forget(iam, role, self.user.earlier_note_key)

    def _drop(self, iam: Any, role: str, name: str) -> None:
        none_if_missing(lambda: iam.delete_role_policy(RoleName=role, PolicyName=name))

    def _detach(self, iam: Any, role: str, arns: list[str]) -> None:
        for arn in arns:
            none_if_missing(partial(iam.detach_role_policy, RoleName=role, PolicyArn=arn))

    def _forget(self, iam: Any, role: str, note: str) -> None:
        none_if_missing(lambda: iam.untag_role(RoleName=role, TagKeys=[note]))


def _permissions(context: BuildContext) -> tuple[Permissions, ...]:
    workflow, partition = context.workflow, context.partition
    managed = policy_documents.managed_arns(partition)
    least = workflow.cloud.role.policies == "least-privilege"
    return (
        Permissions(
            role=role_name(context),
            user=role_user(context),
            inline=policy_documents.least_privilege(workflow, partition)
            if least
            else policy_documents.in_addition_to_the_workshops(workflow),
            managed=() if least else managed,
            unneeded=managed if least else (),
        ),
    )


KIND = ResourceKind(desired=_permissions, removable=_permissions)
