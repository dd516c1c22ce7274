"""What would change: every resource observed side by side, then compared in order, without a further look at AWS."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from emflow.engine.clients import Clients
from emflow.engine.graph import ordered
from emflow.engine.resource import Action, Change, Diff, Inputs, Observed, Outputs, Resource
from emflow.engine.work import each
from emflow.problems import Problem

LONGEST = 72
"""Characters of a value in a plan; longer ones are cut."""


@dataclass(frozen=True)
class Step:
    """One resource, what AWS has of it, and what would have to change."""

    resource: Resource
    observed: Observed | None
    diff: Diff


@dataclass(frozen=True)
class Plan:
    """All steps, each after those that it needs."""

    steps: tuple[Step, ...]

    @property
    def changes(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.diff.action is not Action.NONE)

    @property
    def outputs(self) -> dict[str, Outputs]:
        """What is known of every resource's outputs before anything is applied."""
        return {step.resource.id: step.diff.outputs for step in self.steps}

    def summary(self) -> str:
        """`Plan: 12 to create, 0 to change, 0 to replace, 0 unchanged`."""
        count = Counter(step.diff.action for step in self.steps)
        return (
            f"Plan: {count[Action.CREATE]} to create, {count[Action.UPDATE]} to change, "
            f"{count[Action.REPLACE]} to replace, {count[Action.NONE]} unchanged"
        )

    def text(self) -> str:
        """For people: a tree by room, what changes in each resource, and the summary."""
        return "\n".join([*_tree(self.steps), self.summary()])


def make_plan(resources: Iterable[Resource], clients: Clients) -> Plan:
    """Look at AWS and compare.

    Raises:
        Problem: something could not be read, or cannot be done. All that went wrong is in it.
    """
    order = ordered(resources)
    observed: dict[str, Observed | None] = {}

    def observe(resource: Resource) -> None:
        observed[resource.id] = resource.observe(clients)

    refuse(each(observe, order))
    return compare(order, observed)


def compare(order: Iterable[Resource], observed: dict[str, Observed | None]) -> Plan:
    """The second half of planning: pure. Raises as `make_plan` does."""
    steps: list[Step] = []
    problems: list[Problem] = []
    outputs: dict[str, Outputs] = {}
    for resource in order:
        try:
            diff = resource.diff(observed[resource.id], Inputs(outputs))
        except Problem as problem:
            problems.append(problem)
            continue
        outputs[resource.id] = diff.outputs
        steps.append(Step(resource, observed[resource.id], diff))
    refuse(problems)
    return Plan(tuple(steps))


def refuse(problems: list[Problem]) -> None:
    """Raise what went wrong, if anything did, as one problem."""
    match problems:
        case []:
            return
        case [problem]:
            raise problem
        case _:
            raise Problem("\n".join(str(problem) for problem in problems))


def _tree(steps: Iterable[Step]) -> Iterator[str]:
    shown = [step for step in steps if step.diff.action is not Action.NONE or step.diff.notes]
    width = max((len(step.resource.id) for step in shown), default=0)
    for room, members in groupby(
        sorted(shown, key=lambda step: _room(step, shown)), key=lambda step: _room(step, shown)
    ):
        yield shown[room].resource.id.partition("/")[0]
        for step in members:
            yield f"  {step.diff.action.value} {step.resource.id:<{width}}  {step.resource.name}".rstrip()
            if step.diff.action in {Action.UPDATE, Action.REPLACE}:
                for change in step.diff.changes:
                    yield from (f"      {line}" for line in describe(change))
            yield from (f"      {note}" for note in step.diff.notes)


def _room(step: Step, shown: list[Step]) -> int:
    """The place of the first step of the same room."""
    room = step.resource.id.partition("/")[0]
    return next(number for number, other in enumerate(shown) if other.resource.id.partition("/")[0] == room)


def describe(change: Change) -> Iterator[str]:
    """A change in lines: `field: old → new`; of lists only what comes and goes, of mappings only keys that differ."""
    old, new = change.old, change.new
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(key for key in old if key not in new)]:
            if old.get(key) != new.get(key):
                yield from describe(Change(f"{change.field}.{key}", old.get(key), new.get(key)))
        return
    if isinstance(new, list | tuple) and isinstance(old, list | tuple | None):
        for item in new:
            if item not in (old or ()):
                yield f"{change.field}: + {shown(item)}"
        for item in old or ():
            if item not in new:
                yield f"{change.field}: - {shown(item)}"
        return
    yield f"{change.field}: {shown(old)} → {shown(new)}"


def shown(value: Any) -> str:
    """A value on one line, cut when it is long, without the password of a URL in it."""
    text = value if isinstance(value, str) else "(none)" if value is None else json.dumps(value, ensure_ascii=False)
    text = re.sub(r"(://[^:/@\s]*:)[^/\s]+(?=@)", r"\1***", text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
