"""What happens while a plan is applied, as data; whoever shows it decides how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from emflow.engine.plan import Plan
from emflow.engine.resource import Action
from emflow.problems import Problem


@dataclass(frozen=True)
class Planned:
    """Work on this plan begins."""

    plan: Plan


@dataclass(frozen=True)
class Started:
    """A resource is being made or changed; `action` is None when it is being removed."""

    resource: str
    action: Action | None


@dataclass(frozen=True)
class Waiting:
    """A resource takes time: its state in AWS's word, and why that is so where AWS says it."""

    resource: str
    state: str
    reason: str = ""


@dataclass(frozen=True)
class Done:
    """A resource is as it should be. `seconds` is how long that took."""

    resource: str
    action: Action | None
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A resource could not be made, changed or removed."""

    resource: str
    problem: Problem


@dataclass(frozen=True)
class Skipped:
    """A resource was not tried. `because` names the resource that stands in the way."""

    resource: str
    because: str


Event = Planned | Started | Waiting | Done | Failed | Skipped
Emit = Callable[[Event], None]


def ignore(_: Event) -> None:
    """For whoever does not want to hear of it."""
