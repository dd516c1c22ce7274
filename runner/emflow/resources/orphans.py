"""Orphans: what earlier applies of a workflow made and the workflow no longer has.

There is no record of what a workflow once said. So its orphans (an earlier target, a component that was dropped, a
renamed fleet) are found by their tags. Each kind of resource has a finder for its own; this module has what they share:
a plan shows orphans, `apply` and `destroy` remove them. Orphans that hold data are shown by every plan, and removed
by `destroy --delete-data` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError

from emflow.engine.clients import Clients
from emflow.engine.errors import error_code
from emflow.engine.resource import (
    DETAILS,
    NOT_MENTIONED,
    REMOVABLE,
    Action,
    Change,
    Diff,
    FieldLabel,
    Inputs,
    Observed,
    Outputs,
    Retention,
    RunContext,
)
from emflow.resources.ownership import HOLDS_DATA
from emflow.resources.tag_search import is_refused

NEEDS_DELETE_DATA = "data; emflow destroy --delete-data removes it"


@dataclass(frozen=True)
class Orphan:
    """One thing that an earlier apply made.

    Args:
        content: what there is of it, for people.
        notes: what people should know before it is removed.
        retention: whether it stays, and why.
    """

    content: str
    notes: tuple[str, ...] = ()
    retention: Retention = REMOVABLE


class OrphanFinder(Protocol):
    """Finds and removes the orphans of one kind of resource."""

    @property
    def permission(self) -> str:
        """What has to be allowed to find them, such as `tag:GetResources`."""

    def find(self, clients: Clients) -> Mapping[str, Orphan]:
        """The orphans by name."""

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        """Remove one of them. Nothing to do is success.

        Raises:
            Problem: it has to stay, because others use it by now; nothing of it was removed.
        """


@dataclass(frozen=True)
class Orphans:
    """All orphans of one kind, as one resource.

    Args:
        data: they hold data, so `apply` never removes them.
        planned: the names of those that a plan of `destroy` removes; None before there is one.
    """

    id: str
    name: str
    finder: OrphanFinder
    needs: frozenset[str] = field(default_factory=frozenset)
    releases: frozenset[str] = field(default_factory=frozenset)
    data: bool = False
    planned: tuple[str, ...] | None = None

    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "found": FieldLabel("the list of what earlier forms of the workflow left", named_items=True),
        "unseen": FieldLabel("the permission to look for it"),
        DETAILS: FieldLabel("the list of what is to be removed"),
    }

    def observe(self, clients: Clients) -> Observed | None:
        try:
            found = self.finder.find(clients)
        except (EndpointConnectionError, ConnectTimeoutError):
            # A private network may have no way to a service that nothing else here needs.
            return {"found": {}, "unseen": f"cannot be looked for: no way to {self.finder.permission} from here"}
        except ClientError as error:
            if not is_refused(error):
                raise
            return {
                "found": {},
                "unseen": f"cannot be looked for: allow {self.finder.permission} ({error_code(error)})",
            }
        details = [f"{name}: {orphan.content}" for name, orphan in found.items() if not orphan.retention.kept]
        return {"found": dict(found), "unseen": "", DETAILS: details} if found else None

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        if observed is None:
            return Diff(Action.NONE)
        found: Mapping[str, Orphan] = observed["found"]
        removed = {name: orphan for name, orphan in found.items() if not orphan.retention.kept and not self.data}
        notes = [note for orphan in removed.values() for note in orphan.notes]
        notes += [
            f"{name} stays: {orphan.retention.reason or NEEDS_DELETE_DATA}"
            for name, orphan in found.items()
            if name not in removed
        ]
        notes += [observed["unseen"]] if observed["unseen"] else []
        changes = tuple(Change(name, orphan.content, None) for name, orphan in removed.items())
        return Diff(Action.REMOVE if removed else Action.NONE, changes, notes=tuple(notes))

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        for change in diff.changes:
            self._remove(clients, change.field, run)
        return {}

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        found: Mapping[str, Orphan] = observed["found"]
        if any(not orphan.retention.kept for orphan in found.values()):
            return REMOVABLE if delete_data or not self.data else Retention.because(HOLDS_DATA)
        reasons = "; ".join(f"{name}: {orphan.retention.reason}" for name, orphan in found.items())
        reason = reasons or str(observed["unseen"])
        return Retention.because(reason) if reason else NOT_MENTIONED

    def as_planned(self, observed: Observed) -> Orphans:
        return replace(self, planned=_removable_names(observed["found"]))

    def delete(self, clients: Clients, run: RunContext) -> None:
        # Not what is found by now: one that others have begun to use since is not skipped, but refused by its finder.
        names = _removable_names(self.finder.find(clients)) if self.planned is None else self.planned
        for name in names:
            self._remove(clients, name, run)

    def _remove(self, clients: Clients, name: str, run: RunContext) -> None:
        run.pause(0)
        run.waiting("removing", name)
        self.finder.remove(clients, name, run)


def _removable_names(found: Mapping[str, Orphan]) -> tuple[str, ...]:
    return tuple(name for name, orphan in found.items() if not orphan.retention.kept)
