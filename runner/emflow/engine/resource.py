"""All that the engine knows about a kind of resource.

A resource is desired state. The engine *observes* what AWS has, *compares* it with what is wanted, and *applies*
the difference. Only the first and the last talk to AWS; comparing is pure, so a plan can be tested without any cloud
and printed without surprises.

What one resource makes, another may need: a role's ARN, a job's name. Such values are *outputs*. In a plan an output
that does not exist yet stands as `LATER`; before a resource is applied, its difference is worked out again with the
real values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from emflow.engine.clients import Clients

Outputs = Mapping[str, str]
"""What a resource gives to those that need it, such as `{"arn": …}`."""

Observed = Mapping[str, Any]
"""What AWS has of a resource, in the resource's own vocabulary."""


class Later(str):
    """A text that is known after apply; it equals nothing but itself."""

    __slots__ = ()


LATER = Later("(known after apply)")


class InUse(str):
    """Why something stays: others use it. What it needs stays with it."""

    __slots__ = ()


class Inputs:
    """The outputs of other resources, as far as they are known."""

    def __init__(self, outputs: Mapping[str, Outputs] | None = None) -> None:
        self._outputs = outputs or {}

    def __call__(self, resource: str, output: str) -> str:
        """One output of one resource; `LATER` where it is not known yet."""
        return self._outputs.get(resource, {}).get(output, LATER)


class Action(Enum):
    NONE = "="
    CREATE = "+"
    UPDATE = "~"
    REPLACE = "±"
    REMOVE = "-"


@dataclass(frozen=True)
class Change:
    """One field that differs. `old` is None where AWS has nothing."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Diff:
    """What would have to change.

    Args:
        action: the kind of change.
        changes: field by field, for people and for `apply`.
        outputs: what the resource gives to others, as far as it is known before it is applied; everything of it when
            nothing has to change.
        notes: what people should know although nothing is done about it.
        parameters: what `apply` needs beyond the changes, in the resource's own vocabulary.
    """

    action: Action
    changes: tuple[Change, ...] = ()
    outputs: Outputs = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def between(
        cls,
        want: Mapping[str, Any],
        have: Observed | None,
        *,
        outputs: Outputs | None = None,
        notes: tuple[str, ...] = (),
    ) -> Diff:
        """Compare field by field; a resource that does not exist yet is all change."""
        have_or_nothing = have or {}
        changes = tuple(
            Change(name, have_or_nothing.get(name), value)
            for name, value in want.items()
            if have_or_nothing.get(name) != value
        )
        action = Action.CREATE if have is None else Action.UPDATE if changes else Action.NONE
        return cls(action, changes, outputs or {}, notes)


class RunContext(Protocol):
    """What a resource may do while it is being applied, besides calling AWS."""

    def waiting(self, state: str, reason: str = "") -> None:
        """Tell people what is being waited for."""

    def pause(self, seconds: float) -> None:
        """Let time pass; ends at once, with an exception, when the whole run is being stopped."""


DETAILS = "details"
"""In what is observed of several things at once: lines for people that say what each of them is."""


class Observable(Protocol):
    """One thing, or several of a kind, in AWS: how it is called, and what AWS has of it."""

    @property
    def id(self) -> str:
        """Stable name in plans and tags, such as `bucket/components`: the room, then the part of the workflow."""

    @property
    def name(self) -> str:
        """What AWS calls it."""

    @property
    def needs(self) -> frozenset[str]:
        """Ids of the resources that have to be there first."""

    def observe(self, clients: Clients) -> Observed | None:
        """What AWS has, in the resource's own vocabulary; None if there is nothing. Reads only."""


class Resource(Observable, Protocol):
    """What a workflow wants to be there, or, of what it once wanted, to be gone."""

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        """What would have to change. Pure.

        Raises:
            Problem: it cannot be done, or not without the user's word.
        """

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        """Make exactly the changes of `diff`. Safe to call again after a crash."""


class Removable(Observable, Protocol):
    """What `destroy` may take down."""

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        """Why `destroy` leaves it alone: None when it may go, empty when there is nothing to say. Pure.

        An `InUse` holds what it needs, too.
        """

    def delete(self, clients: Clients, run: RunContext) -> None:
        """Remove it. Nothing to do is success."""
