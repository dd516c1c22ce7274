"""Events: what happens while a plan is applied or resources are removed, as data, and each event as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from emflow.engine.plan import Plan
from emflow.engine.resource import Action
from emflow.problems import Finding, Problem
from emflow.workflow.redaction import masked

FORMAT = "emflow.event/v1"


@dataclass(frozen=True)
class Warned:
    """Something that people should know, and no reason to stop. `code` and position: of a rule of the workflow."""

    message: str
    mend: str = ""
    code: str = ""
    path: str = ""
    line: int = 0
    column: int = 0

    @classmethod
    def of(cls, finding: Finding) -> Warned:
        return cls(finding.message, finding.mend, finding.code, finding.path, finding.line, finding.column)


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
    """A resource was not tried. `because` names the resource whose failure prevents it."""

    resource: str
    because: str


@dataclass(frozen=True)
class Stopping:
    """The run has been cancelled; `why`, such as `interrupted by Ctrl-C`. What is under way is brought to an end."""

    why: str


@dataclass(frozen=True)
class Left:
    """A resource is left unfinished: AWS may continue with it. `state` is the last one that AWS gave."""

    resource: str
    state: str
    seconds: float


@dataclass(frozen=True)
class Finished:
    """Nothing more comes.

    Args:
        result: `applied`, `unchanged`, `failed` or `stopped`.
        actions: what was done to each resource that was touched.
        problem: why it did not go well.
    """

    result: str
    seconds: float
    actions: Mapping[str, Action] = field(default_factory=dict)
    problem: Problem | None = None


Event = Warned | Planned | Started | Waiting | Done | Failed | Skipped | Stopping | Left | Finished
Emit = Callable[[Event], None]


def ignore_events(_: Event) -> None:
    """A listener that does nothing."""


def event_as_json(event: Event, at: datetime) -> dict[str, Any]:
    """An event that happened at a time as a JSON object, as `event.schema.json` describes it, without any password."""
    time = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    facts: dict[str, Any] = masked(_facts(event))
    return {"format": FORMAT, "time": time, **facts}


def _facts(event: Event) -> dict[str, Any]:
    match event:
        case Warned():
            return {"event": "warned", **dataclasses.asdict(event)}
        case Planned(plan):
            steps = {step.resource.id: step.diff.action.word for step in plan.steps}
            return {"event": "planned", "actions": steps}
        case Started(resource, action):
            return {"event": "started", "resource": resource, "action": _word(action)}
        case Waiting(resource, state, reason):
            return {"event": "waiting", "resource": resource, "state": state, "reason": reason}
        case Done(resource, action, seconds):
            return {"event": "done", "resource": resource, "action": _word(action), "seconds": round(seconds, 3)}
        case Failed(resource, problem):
            return {"event": "failed", "resource": resource, "problem": _problem(problem)}
        case Skipped(resource, because):
            return {"event": "skipped", "resource": resource, "because": because}
        case Stopping(why):
            return {"event": "stopping", "why": why}
        case Left(resource, state, seconds):
            return {"event": "left", "resource": resource, "state": state, "seconds": round(seconds, 3)}
        case Finished(result, seconds, actions, problem):
            return {
                "event": "finished",
                "result": result,
                "seconds": round(seconds, 3),
                "actions": {resource: action.word for resource, action in actions.items()},
                "problem": _problem(problem) if problem else None,
            }


def _word(action: Action | None) -> str:
    return Action.REMOVE.word if action is None else action.word


def _problem(problem: Problem) -> dict[str, str]:
    return {"what": problem.what, "where": problem.where, "mend": problem.mend}
