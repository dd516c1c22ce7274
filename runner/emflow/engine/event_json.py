"""Events as JSON: one object each, as `event.schema.json` describes them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from emflow.engine.events import (
    Done,
    Event,
    Failed,
    Finished,
    Left,
    Planned,
    Skipped,
    Started,
    Stopping,
    Waiting,
    Warned,
)
from emflow.engine.plan_text import WORDS
from emflow.engine.resource import Action
from emflow.problems import Problem
from emflow.workflow.redaction import masked

FORMAT = "emflow.event/v1"
REMOVE = "remove"
"""What `Started` and `Done` without an action are about."""


def as_json(event: Event, at: datetime) -> dict[str, Any]:
    """An event that happened at a time, as JSON data without any password."""
    time = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    facts: dict[str, Any] = masked(_facts(event))
    return {"format": FORMAT, "time": time, **facts}


def _facts(event: Event) -> dict[str, Any]:
    match event:
        case Warned():
            return {"event": "warned", **dataclasses.asdict(event)}
        case Planned(plan):
            steps = {step.resource.id: WORDS[step.diff.action] for step in plan.steps}
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
                "actions": {resource: WORDS[action] for resource, action in actions.items()},
                "problem": _problem(problem) if problem else None,
            }


def _word(action: Action | None) -> str:
    return REMOVE if action is None else WORDS[action]


def _problem(problem: Problem) -> dict[str, str]:
    return {"what": problem.what, "where": problem.where, "mend": problem.mend}
