"""A plan: every resource observed in parallel, then compared in order of dependency without a further look at AWS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from emflow.engine.cancellation import Cancellation, Cancelled, Interrupted
from emflow.engine.clients import Clients
from emflow.engine.plan_text import tree
from emflow.engine.resource import KNOWN_AFTER_APPLY, Action, Diff, Inputs, Observed, Outputs, Resource
from emflow.engine.scheduler import apply_graph, in_dependency_order, run_parallel
from emflow.problems import Problem


@dataclass(frozen=True)
class Step:
    """One resource, what AWS has of it, and what would have to change."""

    resource: Resource
    observed: Observed | None
    diff: Diff


@dataclass(frozen=True)
class Plan:
    """All steps, each after those that come before it in the graph."""

    steps: tuple[Step, ...]

    @property
    def changes(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.diff.action is not Action.NONE)

    @property
    def reported_steps(self) -> tuple[Step, ...]:
        """The steps that are counted and written: without those that do not exist and are not wanted either."""
        return tuple(step for step in self.steps if step.observed is not None or step.diff.action is not Action.NONE)

    @property
    def outputs(self) -> dict[str, Outputs]:
        """What is known of every resource's outputs before anything is applied."""
        return {step.resource.id: step.diff.outputs for step in self.steps}

    def summary(self) -> str:
        """`Plan: 12 to create, 0 to change, 0 to replace, 0 unchanged`; where there is any, also what is to remove."""
        count = Counter(step.diff.action for step in self.reported_steps)
        removed = f"{count[Action.REMOVE]} to remove, " if count[Action.REMOVE] else ""
        return (
            f"Plan: {count[Action.CREATE]} to create, {count[Action.UPDATE]} to change, "
            f"{count[Action.REPLACE]} to replace, {removed}{count[Action.NONE]} unchanged"
        )

    def text(self, *, details: bool = False) -> str:
        """For people: a tree by group, what changes in each resource, and the summary.

        Args:
            details: also show each field of what would be created.
        """
        lines = tree(((step.resource.id, step.resource.name, step.diff) for step in self.steps), details=details)
        return "\n".join([*lines, self.summary()])


def make_plan(resources: Iterable[Resource], clients: Clients, cancellation: Cancellation | None = None) -> Plan:
    """Look at AWS and compare.

    Args:
        cancellation: ends it early when requested, without waiting for answers.

    Raises:
        Problem: something could not be read, or cannot be done. All that went wrong is in it.
        Interrupted: `cancellation` was requested.
    """
    resources = tuple(resources)
    order = in_dependency_order(resources, apply_graph(resources))
    observed: dict[str, Observed | None] = {}

    def observe(resource: Resource) -> None:
        observed[resource.id] = resource.observe(clients)

    try:
        raise_problems(run_parallel(observe, order, cancellation))
    except Cancelled:
        raise Interrupted(cancellation or Cancellation(), mend="Nothing was changed.") from None
    return compare(order, observed)


def compare(order: Iterable[Resource], observed: Mapping[str, Observed | None]) -> Plan:
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
    raise_problems(problems)
    return Plan(tuple(steps))


def refuse_unplanned_changes(agreed: Plan, now: Plan) -> None:
    """Check that all changes that are necessary now are part of the confirmed plan.

    They may be fewer: another run may have made some of them, or a job may have ended.

    Raises:
        Problem: other changes would be necessary. The resources are named.
    """
    agreed_steps = {step.resource.id: step for step in agreed.steps}
    other = [step.resource.id for step in now.changes if not _is_part_of(step, agreed_steps[step.resource.id])]
    if other:
        raise Problem(
            "AWS has changed since this was planned, so other changes are necessary: " + ", ".join(other),
            mend="Make a new plan (emflow plan), check it, and apply it.",
        )


def _is_part_of(now: Step, agreed: Step) -> bool:
    if now.diff.parameters and now.diff.parameters != agreed.diff.parameters:
        return False
    planned = {change.field: change.new for change in agreed.diff.changes}
    return all(
        change.field in planned and (planned[change.field] is KNOWN_AFTER_APPLY or planned[change.field] == change.new)
        for change in now.diff.changes
    )


def raise_problems(problems: list[Problem]) -> None:
    """Raise what went wrong, if anything did, as one problem."""
    match problems:
        case []:
            return
        case [problem]:
            raise problem
        case _:
            raise Problem("\n".join(str(problem) for problem in problems))
