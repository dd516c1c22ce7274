"""A saved plan: what `emflow plan` writes as JSON, and what `emflow apply` compares with AWS before it executes one.

The document says what would change, for people and programs, and has digests of everything that this was computed from:
the workflow's values part by part, and what AWS had of each resource field by field. An apply of it reads and observes
all of that again. Where anything differs the plan is refused, and the message names what differs.

Neither the values nor what is digested contain passwords: the digest of little more than a password would reveal it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from emflow import __version__
from emflow.engine.events import Warned
from emflow.engine.plan import Plan, Step
from emflow.engine.resource import Action, Change, FieldLabel, KnownAfterApply
from emflow.engine.scheduler import apply_graph
from emflow.json_text import from_json, to_json
from emflow.problems import Finding, Problem, UsageProblem
from emflow.workflow.model import Workflow
from emflow.workflow.redaction import masked, masked_beside
from emflow.workflow.source.safe_open import read_text

FORMAT = "emflow.plan/v1"
PLAN_AGAIN = "Make a new plan (emflow plan --out), check it, and apply it."
MAX_BYTES = 64 * 1024 * 1024

WORKFLOW_KEYS = ("apiVersion", "imports")
"""One of them is in every workflow, also in one that is written as JSON."""

ANSWER_METADATA = "ResponseMetadata"
"""The key under which an answer of AWS says something about itself rather than about the thing."""

PLANNED_PARTS: Mapping[str, str] = {
    "name": "would have another name now",
    "action": "something else would be done now",
    "changes": "would be changed to other values now",
}
"""Parts of a resource in a plan → what is said when they differ though AWS is the same."""


@dataclass(frozen=True)
class PlanRequest:
    """What the plan was made for, so that an apply of it is for the same.

    Args:
        file: the workflow's path as it was given.
        vars: the values of `--var`.
        options: other options by name, in JSON's types.
    """

    file: str
    vars: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AccountRegion:
    """The account and the region that a plan is for."""

    account: str
    region: str


def plan_document(
    plan: Plan, workflow: Workflow, request: PlanRequest, aws: AccountRegion, warnings: Sequence[Finding] = ()
) -> dict[str, Any]:
    """The plan as JSON data, as `plan.schema.json` describes it. `warnings` are those of the workflow."""
    parts = workflow_parts(workflow)
    resources = _resources(plan)
    counts = {word: sum(each["action"] == word for each in resources) for word in (action.word for action in Action)}
    return {
        "format": FORMAT,
        "emflow": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "workflow": {
            "file": request.file,
            "name": workflow.metadata.name,
            "digest": _digest(parts),
            "parts": parts,
        },
        # A variable with a password in it has to be given again.
        "vars": {name: value if masked(value) == value else None for name, value in request.vars.items()},
        "options": dict(request.options),
        "aws": dataclasses.asdict(aws),
        "warnings": [masked(dataclasses.asdict(Warned.of(each))) for each in warnings],
        "summary": counts,
        "resources": resources,
    }


def _resources(plan: Plan) -> list[dict[str, Any]]:
    graph = apply_graph(step.resource for step in plan.steps)
    return [_resource(step, graph[step.resource.id]) for step in plan.reported_steps]


def _resource(step: Step, before: Collection[str]) -> dict[str, Any]:
    return {
        "id": step.resource.id,
        "name": step.resource.name,
        "action": step.diff.action.word,
        "needs": sorted(before),
        "changes": [_change(change) for change in step.diff.changes],
        "notes": list(step.diff.notes),
        "observed": None if step.observed is None else observed_digests(step.observed),
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "field": change.field,
        "old": masked_beside(to_json_data(change.old), to_json_data(change.new)),
        "new": masked(to_json_data(change.new)),
        "known_after_apply": _is_known_after_apply(change.new),
    }


def _is_known_after_apply(value: Any) -> bool:
    """Whether a value, or something in it, is known only after apply."""
    match value:
        case KnownAfterApply():
            return True
        case Mapping():
            return any(_is_known_after_apply(item) for item in value.values())
        case list() | tuple():
            return any(_is_known_after_apply(item) for item in value)
        case _:
            return False


def read_plan(path: Path) -> dict[str, Any] | None:
    """The plan in a file; None when the file is something else, such as a workflow.

    Raises:
        UsageProblem: it is a plan that this version does not understand, a part of one, or JSON that is neither a plan
            nor a workflow.
    """
    try:
        text = read_text(path, MAX_BYTES)
    except (OSError, ValueError, Problem):
        return None  # the workflow's loader reports what is wrong with it
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        found = from_json(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not str(found.get("format", "")).startswith("emflow.plan/"):
        if any(key in text for key in WORKFLOW_KEYS):
            return None
        what = "its JSON is incomplete" if found is None else "it has neither `format` nor `apiVersion`"
        raise UsageProblem(f"this is neither a plan nor a workflow: {what}", where=str(path), mend=PLAN_AGAIN)
    if found["format"] != FORMAT or found.get("emflow") != __version__:
        maker = found.get("emflow")
        made_by = f"made by emflow {maker}" if maker else "without the version of emflow that made it"
        raise UsageProblem(
            f"this plan is of another version (format {found['format']}, {made_by}; this is {__version__}), "
            "which may have planned differently",
            where=str(path),
            mend=PLAN_AGAIN,
        )
    _validate(found, path)
    return found


def _validate(found: dict[str, Any], path: Path) -> None:
    from jsonschema import Draft202012Validator

    from emflow_schema import load

    for error in Draft202012Validator(load("plan")).iter_errors(found):
        raise UsageProblem(
            f"this plan is damaged or incomplete: {error.json_path}: {error.message}", where=str(path), mend=PLAN_AGAIN
        )


def request_from_plan(planned: Mapping[str, Any], overrides: Mapping[str, str]) -> PlanRequest:
    """What a plan was made for.

    Args:
        planned: the plan.
        overrides: values of `--var`, for variables whose values the plan does not contain.

    Raises:
        UsageProblem: a variable is missing, or one was given that the plan has already.
    """
    carried = {name: value for name, value in planned["vars"].items() if value is not None}
    secret = planned["vars"].keys() - carried.keys()
    if missing := sorted(secret - overrides.keys()):
        raise UsageProblem(
            f"the plan does not contain the value of {', '.join(missing)}, because there is a password in it",
            where="--var",
            mend="Give the same value as for the plan: " + " ".join(f"--var {name}=…" for name in missing),
        )
    if extra := sorted(overrides.keys() - secret):
        raise UsageProblem(
            f"{', '.join(extra)} was set when the plan was made, and cannot be set again",
            where="--var",
            mend="Leave it out, or make a new plan with it.",
        )
    return PlanRequest(planned["workflow"]["file"], {**carried, **overrides}, planned["options"])


def refuse_changed_workflow(planned: Mapping[str, Any], workflow: Workflow) -> None:
    """See that the workflow is the one that was planned.

    Raises:
        Problem: it is not. The parts that differ are named.
    """
    before, now = planned["workflow"]["parts"], workflow_parts(workflow)
    differing = [part for part in {**before, **now} if before.get(part) != now.get(part)]
    if differing:
        raise Problem(
            f"the workflow is no longer the one that was planned; it differs in: {', '.join(differing)}",
            where=planned["workflow"]["file"],
            mend=PLAN_AGAIN,
        )


def refuse_changed_world(planned: Mapping[str, Any], now: Plan, aws: AccountRegion) -> None:
    """See that AWS is as it was when the plan was made, and that the same would be done.

    Raises:
        Problem: it is not. The resource and the field are named.
    """
    if planned["aws"] != dataclasses.asdict(aws):
        was = planned["aws"]
        raise Problem(
            f"the plan is for account {was['account']} in {was['region']}, this is {aws.account} in {aws.region}",
            mend="Sign in there, or plan again here.",
        )
    before = {each["id"]: each for each in planned["resources"]}
    present = {each["id"]: each for each in _resources(now)}
    labels = {step.resource.id: step.resource.labels for step in now.steps}
    lines = [line for name, each in present.items() for line in differences(name, before.get(name), each, labels[name])]
    lines += [f"{name}: no longer in the plan" for name in before if name not in present]
    if lines:
        details = "\n".join(f"  {line}" for line in lines)
        files = all(line.endswith(tuple(PLANNED_PARTS.values())) for line in lines)
        what = "a file of the workflow has changed" if files else "AWS has changed"
        raise Problem(f"{what} since this was planned, so nothing was done\n{details}", mend=PLAN_AGAIN)


def differences(
    name: str, before: Mapping[str, Any] | None, now: Mapping[str, Any], labels: Mapping[str, FieldLabel]
) -> list[str]:
    """What differs of one resource, a line each.

    Args:
        before: the resource in the saved plan; None where it is not in it.
        now: the same as it would be planned now.
        labels: how people call the fields of what is observed.
    """
    if before is None:
        return [f"{name}: was not in the plan"]
    if before["name"] != now["name"]:  # as an object in S3 has, whose name contains the digest of its content
        return [f"{name}: {PLANNED_PARTS['name']}"]
    was, found = before["observed"], now["observed"]
    if was is None and found is not None:
        return [f"{name}: did not exist, and does now"]
    if was is not None and found is None:
        return [f"{name}: existed, and does not exist any more"]
    if was != found:
        fields = {**was, **found}
        changed = [key for key in fields if was.get(key) != found.get(key)]
        # A field that was empty has no keys of its own: then the whole of it has come or gone.
        texts = dict.fromkeys(_label(_parent(key) if _parent(key) in fields else key, labels) for key in changed)
        return [f"{name}: {text} has changed" for text in texts]
    # AWS is the same: what differs comes from files beside the workflow, such as the model.
    return [f"{name}: {text}" for key, text in PLANNED_PARTS.items() if before[key] != now[key]]


def _label(key: str, labels: Mapping[str, FieldLabel]) -> str:
    parent, _, item = key.partition(".")
    label = labels.get(parent)
    text = label.text if label else parent
    return f"{text} ({item})" if item and (label is None or label.named_items) else text


def _parent(key: str) -> str:
    return key.partition(".")[0]


def workflow_parts(workflow: Workflow) -> dict[str, str]:
    """Digests of the workflow's values after variables, by part: `aws.region`, `cloud.model`, `edge.streams`, …"""
    values = to_json_data(workflow)
    # The folders are not part of the content, and variables count where they are used.
    values = {key: value for key, value in values.items() if key not in {"folder", "root", "vars"}}
    return {name: _digest(value) for name, value in _flat(values)}


def observed_digests(observed: Mapping[str, Any]) -> dict[str, str]:
    """Digests of what AWS has of a resource, by field."""
    return {name: _digest(value) for name, value in _flat(to_json_data(observed))}


def _flat(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Two levels of keys as one."""
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            pairs += [(f"{key}.{inner}", item) for inner, item in value.items()]
        else:
            pairs.append((key, value))
    return pairs


def to_json_data(value: Any) -> Any:
    """A value of a resource as JSON data: no dataclasses, sets, times or enumerations in it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: to_json_data(getattr(value, each.name)) for each in dataclasses.fields(value)}
    match value:
        case Mapping():
            return {str(key): to_json_data(item) for key, item in value.items() if key != ANSWER_METADATA}
        case list() | tuple():
            return [to_json_data(item) for item in value]
        case set() | frozenset():
            return sorted((to_json_data(item) for item in value), key=str)
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Enum():
            return value.value
        case float() if not math.isfinite(value):
            return str(value)  # JSON has no such number
        case str() | int() | float() | None:
            return value
        case _:
            return str(value)


def _digest(value: Any) -> str:
    return hashlib.sha256(to_json(masked(value, variables=False), sort_keys=True).encode()).hexdigest()
