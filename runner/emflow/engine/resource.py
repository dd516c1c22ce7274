"""The protocols between the engine and a kind of resource: all that the engine knows about what it manages.

A resource is desired state. The engine *observes* what AWS has, *compares* it with what is wanted, and *applies* the
difference. Only the first and the last talk to AWS; comparing is pure, so a plan can be tested without any cloud.

What one resource makes, another may need: an ARN, the name of a job. Such values are *outputs*. In a plan, an output
that does not exist yet is `KNOWN_AFTER_APPLY`; before a resource is applied, its difference is computed again with the
real values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from emflow.engine.clients import Clients

Outputs = Mapping[str, str]
"""What a resource gives to those that need it, such as `{"arn": …}`."""

Observed = Mapping[str, Any]
"""What AWS has of a resource: the resource's own field names and values."""

DETAILS = "details"
"""The field of `Observed` with lines for people, where one resource stands for several things in AWS."""


class KnownAfterApply:
    """The type of `KNOWN_AFTER_APPLY`, a value that equals nothing but itself, and no text in particular."""

    __slots__ = ()

    def __str__(self) -> str:
        return "(known after apply)"

    def __repr__(self) -> str:
        return "KNOWN_AFTER_APPLY"

    def __copy__(self) -> KnownAfterApply:
        return self

    def __deepcopy__(self, _: Any) -> KnownAfterApply:
        return self


KNOWN_AFTER_APPLY: Final = KnownAfterApply()
"""Stands in a plan for an output that does not exist yet. Compare it with `is`."""


class Inputs:
    """The outputs of other resources, as far as they are known."""

    def __init__(self, outputs: Mapping[str, Outputs] | None = None) -> None:
        self._outputs = outputs or {}

    def planned(self, resource: str, output: str) -> str | KnownAfterApply:
        """One output of one resource, for a comparison; `KNOWN_AFTER_APPLY` where it does not exist yet."""
        return self._outputs.get(resource, {}).get(output, KNOWN_AFTER_APPLY)

    def known(self, resource: str, output: str) -> str:
        """One output of one resource, for a call to AWS.

        Raises:
            KeyError: the resource has not been applied yet, or has no such output: a mistake in what it `needs`.
        """
        return self._outputs[resource][output]


class Action(Enum):
    """What is done to a resource. The value is its sign in a plan for people."""

    NONE = "="
    CREATE = "+"
    UPDATE = "~"
    REPLACE = "±"
    REMOVE = "-"

    @property
    def word(self) -> str:
        """Its name in JSON, such as `create`."""
        return self.name.lower()


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
        parameters: what `apply` needs beyond the changes; only the resource itself reads it.
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
        """Compare field by field; of a resource that does not exist yet, every field is a change."""
        have_or_nothing = have or {}
        changes = tuple(
            Change(name, have_or_nothing.get(name), value)
            for name, value in want.items()
            if have_or_nothing.get(name) != value
        )
        action = Action.CREATE if have is None else Action.UPDATE if changes else Action.NONE
        return cls(action, changes, outputs or {}, notes)


@dataclass(frozen=True)
class Retention:
    """Whether `destroy` keeps a resource.

    Args:
        kept: it stays.
        reason: why, for people; empty where there is nothing to tell, and then it is not mentioned at all.
        in_use: others use it, so what it needs stays too.
    """

    kept: bool
    reason: str = ""
    in_use: bool = False

    @classmethod
    def because(cls, reason: str) -> Retention:
        """It is kept for this reason."""
        return cls(kept=True, reason=reason)

    @classmethod
    def used_by_others(cls, reason: str) -> Retention:
        """It is kept with everything that it needs, because others use it."""
        return cls(kept=True, reason=reason, in_use=True)


REMOVABLE: Final = Retention(kept=False)
"""The resource may be removed."""

NOT_MENTIONED: Final = Retention(kept=True)
"""There is nothing to remove, and nothing to tell."""


@dataclass(frozen=True)
class FieldLabel:
    """How people call a field of `Observed`.

    Args:
        text: such as `the policy`.
        named_items: the keys of its value are names that people know, such as those of tags.
    """

    text: str
    named_items: bool = False


class RunContext(Protocol):
    """What a resource may do while it is being applied or deleted, besides calling AWS."""

    def waiting(self, state: str, reason: str = "") -> None:
        """Report what is being waited for."""

    def pause(self, seconds: float) -> None:
        """Let time pass; ends at once, with an exception, when the run is cancelled or has lost its lock."""


class Observable(Protocol):
    """One thing, or several of a kind, in AWS: its names, and what AWS has of it."""

    @property
    def id(self) -> str:
        """Stable name in plans and tags, such as `bucket/components`: the group, then the part of the workflow."""

    @property
    def name(self) -> str:
        """What AWS calls it."""

    @property
    def needs(self) -> frozenset[str]:
        """Ids of the resources that have to exist first; they are removed after it."""

    @property
    def releases(self) -> frozenset[str]:
        """Ids of what may be removed only when this one has been applied, or removed: until then this may use it."""

    @property
    def labels(self) -> Mapping[str, FieldLabel]:
        """How people call its fields; a field that is missing is called by its own name."""

    def observe(self, clients: Clients) -> Observed | None:
        """What AWS has; None if there is nothing. Reads only."""


class Resource(Observable, Protocol):
    """What a workflow wants to exist, or, of what it once wanted, to be removed."""

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        """What would have to change. Pure.

        Raises:
            Problem: it cannot be done, or not without the user's consent.
        """

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        """Make exactly the changes of `diff`. Safe to call again after a crash."""


class Removable(Observable, Protocol):
    """What `destroy` may remove."""

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        """Whether `destroy` keeps it, and why. Pure."""

    def delete(self, clients: Clients, run: RunContext) -> None:
        """Remove it. Nothing to do is success."""


@runtime_checkable
class RemovableAsPlanned(Removable, Protocol):
    """One that stands for several things, of which it removes those that the plan has shown."""

    def as_planned(self, observed: Observed) -> Removable:
        """The same for a plan that was made from `observed`. Pure."""
