"""What earlier applies of a workflow made and the workflow no longer has: found by its mark, shown, and removed.

There is no record of what a workflow once said. So what it left (an old target, a component that was dropped, a renamed
fleet) is found by the tags on it, with one call for each kind, however much there is in the account:
https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html. That list may be seconds
old; so everything in it is looked at once more before anybody is told. Data stays, and is told of, until `destroy
--delete-data`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError

from emflow.engine.clients import Clients
from emflow.engine.errors import code, status
from emflow.engine.resource import DETAILS, Action, Change, Diff, Inputs, Observed, Outputs, Run
from emflow.engine.work import together
from emflow.resources.greengrass import revision
from emflow.resources.ownership import DATA, RESOURCE_TAG, WORKFLOW_TAG, Mark, by_key

REFUSED = frozenset({"AccessDenied", "AccessDeniedException", "UnknownOperationException", "UnknownService"})
"""Codes of an account that may not look, or of an endpoint that cannot."""


@dataclass(frozen=True)
class Left:
    """Something that an earlier apply left.

    Args:
        was: what there is of it, for people.
        notes: what people should know before it goes.
        kept: why it stays; None when it goes.
    """

    was: str
    notes: tuple[str, ...] = ()
    kept: str | None = None


class Kind(Protocol):
    """How one kind of leftovers is found, and removed."""

    @property
    def right(self) -> str:
        """What has to be allowed to find them, such as `tag:GetResources`."""

    def find(self, clients: Clients) -> Mapping[str, Left]:
        """What there is, by name."""

    def remove(self, clients: Clients, name: str, run: Run) -> None:
        """Remove one of them. Nothing to do is success."""


@dataclass(frozen=True)
class Leftovers:
    """All leftovers of one kind. `data`: they hold data, so only `destroy --delete-data` removes them."""

    id: str
    name: str
    kind: Kind
    needs: frozenset[str] = field(default_factory=frozenset)
    data: bool = False

    def observe(self, clients: Clients) -> Observed | None:
        try:
            found = self.kind.find(clients)
        except (EndpointConnectionError, ConnectTimeoutError):
            # A private network may have no way to a service that nothing else here needs.
            return {"found": {}, "unseen": f"cannot be looked for: no way to {self.kind.right} from here"}
        except ClientError as error:
            if not cannot_look(error):
                raise
            return {"found": {}, "unseen": f"cannot be looked for: allow {self.kind.right} ({code(error)})"}
        details = [f"{name}: {left.was}" for name, left in found.items() if left.kept is None]
        return {"found": dict(found), "unseen": "", DETAILS: details} if found else None

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        if observed is None:
            return Diff(Action.NONE)
        found: Mapping[str, Left] = observed["found"]
        going = {name: left for name, left in found.items() if left.kept is None and not self.data}
        staying = {name: left.kept or "data; emflow destroy --delete-data removes it" for name, left in found.items()}
        notes = [note for left in going.values() for note in left.notes]
        notes += [f"{name} stays: {why}" for name, why in staying.items() if name not in going]
        notes += [observed["unseen"]] if observed["unseen"] else []
        changes = tuple(Change(name, left.was, None) for name, left in going.items())
        return Diff(Action.REMOVE if going else Action.NONE, changes, notes=tuple(notes))

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: Run) -> Outputs:
        for change in diff.changes:
            run.pause(0)
            run.waiting("removing", change.field)
            self.kind.remove(clients, change.field, run)
        return {}

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        found: Mapping[str, Left] = observed["found"]
        if any(left.kept is None for left in found.values()):
            return None if delete_data or not self.data else DATA
        return "; ".join(f"{name}: {left.kept}" for name, left in found.items()) or observed["unseen"]

    def delete(self, clients: Clients, run: Run) -> None:
        for name, left in self.kind.find(clients).items():
            if left.kept is None:
                run.pause(0)
                run.waiting("removing", name)
                self.kind.remove(clients, name, run)


def cannot_look(error: ClientError) -> bool:
    """Whether somebody may not, or an endpoint cannot, list what is tagged."""
    return code(error) in REFUSED or status(error) == 501


def tagged(clients: Clients, service: str, mark: Mark, resources: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """What carries the workflow's mark: ARN → tags. `resources`: for which parts of the workflow; none is all."""
    filters = {WORKFLOW_TAG: [mark.workflow], **({RESOURCE_TAG: list(resources)} if resources else {})}
    return with_tags(clients, service, filters)


def with_tags(clients: Clients, service: str, tags: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """What has all of these tags, each with one of the values, where any are given: ARN → tags."""
    filters: list[dict[str, Any]] = [{"Key": key, "Values": list(values)} for key, values in tags.items()]
    pages = clients("resourcegroupstaggingapi").get_paginator("get_resources")
    listed = pages.paginate(TagFilters=filters, ResourceTypeFilters=[service], ResourcesPerPage=100)
    return {each["ResourceARN"]: by_key(each["Tags"]) for page in listed for each in page["ResourceTagMappingList"]}


def used_by_others(clients: Clients, mark: Mark, names: Collection[str]) -> dict[str, str]:
    """Which of these components other workflows deploy, as far as they say so: name → workflow."""
    made = with_tags(clients, "greengrass", {revision.COMPONENTS_TAG: ()})
    targets = {
        tags[revision.TARGET_TAG]
        for tags in made.values()
        if revision.TARGET_TAG in tags and not mark.is_on(tags) and revision.recorded(tags) & set(names)
    }
    found = together(
        {each: partial(revision.others_put, clients, clients.arn("iot", each), mark) for each in sorted(targets)}
    )
    return {name: workflow for put in found.values() for name, workflow in put.items() if name in names}
