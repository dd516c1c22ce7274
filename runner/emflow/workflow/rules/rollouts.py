"""Rules for how a deployment spreads, and for quantities that AWS counts in days, minutes or seconds."""

from __future__ import annotations

from collections.abc import Iterator

from emflow.workflow.model import Workflow
from emflow.workflow.rules.violation import Offence
from emflow.workflow.source.positions import KeyPath, format_path
from emflow_schema.units import seconds

MINUTE, DAY = 60.0, 86400.0
UNITS = {1.0: "seconds", MINUTE: "minutes", DAY: "days"}

DEPLOYMENT: KeyPath = ("cloud", "deployment")


def rollout(workflow: Workflow) -> Iterator[Offence]:
    """A rollout is for a thing group, and a growing rate has one reason to grow."""
    given = workflow.cloud.deployment
    if given.rollout is None:
        return
    place: KeyPath = (*DEPLOYMENT, "rollout")
    if given.target.thing_group is None:
        yield Offence(
            place,
            "a rollout spreads over a thing group, the target is one thing",
            "remove it, or deploy to a thing_group",
        )
    growth = given.rollout.growth
    if growth is None:
        return
    if (growth.after_notified is None) == (growth.after_succeeded is None):
        both = growth.after_notified is not None
        yield Offence(
            (*place, "growth"),
            "the rate has two reasons to grow" if both else "the rate has no reason to grow",
            "keep one of after_notified and after_succeeded"
            if both
            else "write after_succeeded: … (or after_notified: …)",
        )
    if growth.start_per_minute > given.rollout.max_per_minute:
        yield Offence(
            (*place, "growth", "start_per_minute"),
            f"it begins with {growth.start_per_minute} devices a minute, {given.rollout.max_per_minute} are the most",
            "begin with less, or raise max_per_minute",
        )


def durations(workflow: Workflow) -> Iterator[Offence]:
    """Durations that AWS takes in whole days, minutes or seconds."""
    results, given = workflow.cloud.buckets.inference_results, workflow.cloud.deployment
    timeout = given.rollout.timeout if given.rollout else None
    wanted: list[tuple[KeyPath, str | None, float, float, float]] = [
        (("cloud", "buckets", "inference_results", "expire_captures"), results.expire_captures, DAY, 1, 36500),
        ((*DEPLOYMENT, "rollout", "timeout"), timeout, MINUTE, 1, 10080),
        ((*DEPLOYMENT, "update", "timeout"), given.update.timeout, 1.0, 0, 86400),
        ((*DEPLOYMENT, "validation_timeout"), given.validation_timeout, 1.0, 1, 86400),
    ]
    for place, text, unit, least, most in wanted:
        if text is None:
            continue
        try:
            count = seconds(text) / unit
        except ValueError:
            yield Offence(
                place, f"{format_path(place)}: {text!r} is no duration", "write a number with ms, s, m, h or d"
            )
            continue
        if count != int(count):
            yield Offence(place, f"{format_path(place)} has to be whole {UNITS[unit]}, this is {text}")
        elif not least <= count <= most:
            limits = f"between {least:g} and {most:g} {UNITS[unit]}"
            yield Offence(place, f"{format_path(place)} has to be {limits}, this is {text}")
