"""Rules for how a deployment spreads over a thing group."""

from __future__ import annotations

from collections.abc import Iterator

from emflow.workflow.model import Workflow
from emflow.workflow.rules.violation import Violation
from emflow.workflow.source.positions import KeyPath

DEPLOYMENT: KeyPath = ("cloud", "deployment")


def rollout(workflow: Workflow) -> Iterator[Violation]:
    """A rollout is for a thing group, and a growing rate has one reason to grow."""
    given = workflow.cloud.deployment
    if given.rollout is None:
        return
    place: KeyPath = (*DEPLOYMENT, "rollout")
    if given.target.thing_group is None:
        yield Violation(
            place,
            "a rollout spreads over a thing group, the target is one thing",
            "remove it, or deploy to a thing_group",
        )
    growth = given.rollout.growth
    if growth is None:
        return
    if (growth.after_notified is None) == (growth.after_succeeded is None):
        both = growth.after_notified is not None
        yield Violation(
            (*place, "growth"),
            "the rate has two reasons to grow" if both else "the rate has no reason to grow",
            "keep one of after_notified and after_succeeded"
            if both
            else "write after_succeeded: … (or after_notified: …)",
        )
    if growth.start_per_minute > given.rollout.max_per_minute:
        yield Violation(
            (*place, "growth", "start_per_minute"),
            f"it begins with {growth.start_per_minute} devices a minute, {given.rollout.max_per_minute} are the most",
            "begin with less, or raise max_per_minute",
        )
