"""A plan as JSON: what `emflow plan` writes, and what `emflow apply` holds against the world before it executes one.

The document says what would change, for people and programs, and carries digests of everything that this was worked
out from: the workflow's values part by part, and what AWS had of each resource field by field. An apply of it reads
and observes all of that again. Where anything differs it is refused, with the name of what differs.

Neither values nor digests know the passwords in it: a digest of little more than a password would give it away.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from emflow import __version__
from emflow.engine.events import Warned
from emflow.engine.plan import Plan, Step
from emflow.engine.plan_text import WORDS
from emflow.engine.resource import LATER, Change
from emflow.problems import Finding, Problem, UsageProblem
from emflow.workflow.model import Workflow
from emflow.workflow.redaction import masked
from emflow.workflow.source.safe_open import read_text

# What is different about a resource since a plan was made, in words that people know.


CHANGE_WORDS: Mapping[str, str] = {
    "arn": "its ARN",
    "component": "the component version in Greengrass",
    "configured": "the record of the settings that this workflow made on the target",
    "details": "the list of what is to be removed",
    "encryption": "the default encryption",
    "found": "the list of what earlier forms of the workflow left",
    "gone": "the list of deployed components whose version no longer exists",
    "inline": "the inline policy",
    "jobs": "the list of jobs",
    "kms_key": "the encryption key",
    "known": "IoT's knowledge of the target",
    "latest": "the target's latest deployment",
    "lifecycle": "the list of lifecycle rules",
    "listed": "the fleet's list of devices",
    "location": "the place for captures",
    "managed": "the list of attached managed policies",
    "members": "the thing group's list of devices",
    "notes": "the record of managed policies that workflows share",
    "others": "the list of others who use it",
    "ours": "the mark that says which workflow made it",
    "ownership": "the object ownership",
    "policy": "the policy",
    "public": "the newest version of a component of AWS",
    "public_access": "the block of public access",
    "put": "the record of the components that this workflow put on the target",
    "role": "the role that it points at",
    "seconds": "the lifetime of the credentials",
    "session": "the longest session",
    "sha256": "the content",
    "tags": "the set of tags",
    "trust": "the trust policy",
    "unseen": "the permission to look for it",
    "versioning": "the versioning",
    "versions": "the list of versions",
    "workflow": "the workflow that stored it",
}
"""Names of what is observed, for people. What has no entry is called by its own name."""

INNER = frozenset({"found", "listed", "public_access", "tags", "versions"})
"""Where the second level is a name that people know, such as a device's or a tag's."""

PLANNED: Mapping[str, str] = {
    "name": "would have another name now",
    "action": "something else would be done now",
    "changes": "would be changed to other values now",
}


def differences(name: str, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """What is different about one resource, a line each. Both as they are in a plan's document."""
    if before is None:
        return [f"{name}: was not part of it"]
    was, found = before["observed"], now["observed"]
    if was is None and found is not None:
        return [f"{name}: did not exist, and does now"]
    if was is not None and found is None:
        return [f"{name}: existed, and does no longer"]
    if was != found:
        keys = [key for key in {**was, **found} if was.get(key) != found.get(key)]
        # What had nothing in it had no keys in it either: then the whole of it has come or gone.
        whole = {**was, **found}
        lines = dict.fromkeys(_words(_parent(key) if _parent(key) in whole else key) for key in keys)
        return [f"{name}: {words} has changed" for words in lines]
    # The same world: what differs came from files beside the workflow, such as the model.
    return [f"{name}: {words}" for key, words in PLANNED.items() if before[key] != now[key]]


def _words(key: str) -> str:
    parent, _, inner = key.partition(".")
    words = CHANGE_WORDS.get(parent, parent)
    return f"{words} ({inner})" if inner and (parent in INNER or parent not in CHANGE_WORDS) else words


def _parent(key: str) -> str:
    return key.partition(".")[0]


FORMAT = "emflow.plan/v1"
MEND = "Plan again (emflow plan --out), look at it, and apply that."
MOST_BYTES = 64 * 1024 * 1024
WORKFLOW_KEYS = ("apiVersion", "imports")
"""One of them is in every workflow, also in one that is written as JSON."""
BETWEEN_ANSWERS = "ResponseMetadata"
"""What AWS says about the answer rather than about the thing."""


@dataclass(frozen=True)
class PlanRequest:
    """What was asked for, so that an apply of the plan asks for the same.

    Args:
        file: the workflow's path as it was given.
        vars: what `--var` gave.
        options: other options by name, in JSON's types.
    """

    file: str
    vars: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AccountRegion:
    """Whose AWS it is about."""

    account: str
    region: str


def plan_document(
    plan: Plan, workflow: Workflow, request: PlanRequest, aws: AccountRegion, warnings: Sequence[Finding] = ()
) -> dict[str, Any]:
    """The plan as JSON data, as `plan.schema.json` describes it. `warnings` are those of the workflow."""
    parts = workflow_parts(workflow)
    resources = [_resource(step) for step in plan.reported_steps]
    counts = {word: sum(each["action"] == word for each in resources) for word in WORDS.values()}
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


def _resource(step: Step) -> dict[str, Any]:
    return {
        "id": step.resource.id,
        "name": step.resource.name,
        "action": WORDS[step.diff.action],
        "needs": sorted(step.resource.needs),
        "changes": [_change(change) for change in step.diff.changes],
        "notes": list(step.diff.notes),
        "observed": None if step.observed is None else observed_digests(step.observed),
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "field": change.field,
        "old": masked(to_json_data(change.old)),
        "new": masked(to_json_data(change.new)),
        "known_after_apply": _later(change.new),
    }


def _later(value: Any) -> bool:
    """Whether a value, or something in it, is known only after apply."""
    match value:
        case Mapping():
            return any(_later(item) for item in value.values())
        case list() | tuple():
            return any(_later(item) for item in value)
        case str():
            return LATER in value
        case _:
            return False


def read_plan(path: Path) -> dict[str, Any] | None:
    """The plan in a file; None when the file is something else, such as a workflow.

    Raises:
        UsageProblem: it is a plan that this version does not understand, a part of one, or JSON that is neither a plan
            nor a workflow.
    """
    try:
        text = read_text(path, MOST_BYTES)
    except (OSError, ValueError, Problem):
        return None  # whoever reads it as a workflow says what is wrong with it
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not str(found.get("format", "")).startswith("emflow.plan/"):
        if any(key in text for key in WORKFLOW_KEYS):
            return None
        what = "no whole JSON" if found is None else "it has neither `format` nor `apiVersion`"
        raise UsageProblem(f"this is no plan and no workflow: {what}", where=str(path), mend=MEND)
    if found["format"] != FORMAT or found.get("emflow") != __version__:
        maker = found.get("emflow")
        made_by = (
            f"format {found['format']}, {f'made by emflow {maker}' if maker else 'which does not say what made it'}"
        )
        raise UsageProblem(
            f"this plan is of another version ({made_by}; this is {__version__}): it might do otherwise now",
            where=str(path),
            mend=MEND,
        )
    _validate(found, path)
    return found


def _validate(found: dict[str, Any], path: Path) -> None:
    from jsonschema import Draft202012Validator

    from emflow_schema import load

    for error in Draft202012Validator(load("plan")).iter_errors(found):
        raise UsageProblem(f"this is no whole plan: {error.json_path}: {error.message}", where=str(path), mend=MEND)


def request_from_plan(planned: Mapping[str, Any], given: Mapping[str, str]) -> PlanRequest:
    """What was asked for when the plan was made. `given`: variables that the plan does not carry.

    Raises:
        UsageProblem: a variable is missing, or one was given that the plan has already.
    """
    carried = {name: value for name, value in planned["vars"].items() if value is not None}
    secret = planned["vars"].keys() - carried.keys()
    if missing := sorted(secret - given.keys()):
        raise UsageProblem(
            f"the plan does not carry {', '.join(missing)}, because there is a password in it",
            where="--var",
            mend="Give it as it was for the plan: " + " ".join(f"--var {name}=…" for name in missing),
        )
    if extra := sorted(given.keys() - secret):
        raise UsageProblem(
            f"{', '.join(extra)} was settled when the plan was made", where="--var", mend="Leave it out, or plan again."
        )
    return PlanRequest(planned["workflow"]["file"], {**carried, **given}, planned["options"])


def refuse_changed_workflow(planned: Mapping[str, Any], workflow: Workflow) -> None:
    """See that the workflow says what it said when the plan was made.

    Raises:
        Problem: it does not. What differs is named.
    """
    before, now = planned["workflow"]["parts"], workflow_parts(workflow)
    differing = [part for part in {**before, **now} if before.get(part) != now.get(part)]
    if differing:
        raise Problem(
            f"the workflow is no longer the one that was planned; it differs in: {', '.join(differing)}",
            where=planned["workflow"]["file"],
            mend=MEND,
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
    present = {step.resource.id: _resource(step) for step in now.reported_steps}
    lines = [line for name, each in present.items() for line in differences(name, before.get(name), each)]
    lines += [f"{name}: no longer part of it" for name in before if name not in present]
    if lines:
        told = "\n".join(f"  {line}" for line in lines)
        raise Problem(f"AWS has changed since this was planned, so nothing was done\n{told}", mend=MEND)


def workflow_parts(workflow: Workflow) -> dict[str, str]:
    """Digests of the workflow's values after variables, by part: `aws.region`, `cloud.model`, `edge.streams`, …"""
    values = to_json_data(workflow)
    # Where the file lies is not what it says; and what variables are used for stands where they are used.
    values = {key: value for key, value in values.items() if key not in {"folder", "vars"}}
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
    """A value of a resource's vocabulary as JSON data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: to_json_data(getattr(value, each.name)) for each in dataclasses.fields(value)}
    match value:
        case Mapping():
            return {str(key): to_json_data(item) for key, item in value.items() if key != BETWEEN_ANSWERS}
        case list() | tuple():
            return [to_json_data(item) for item in value]
        case set() | frozenset():
            return sorted((to_json_data(item) for item in value), key=str)
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Enum():
            return value.value
        case str() | int() | float() | None:
            return value
        case _:
            return str(value)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(masked(value, variables=False), sort_keys=True).encode()).hexdigest()
