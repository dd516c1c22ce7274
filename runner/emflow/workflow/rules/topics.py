"""Rules for the topics that the application publishes to, which its accessControl grants one by one."""

from __future__ import annotations

from collections.abc import Iterator

from emflow.workflow.model import Workflow
from emflow.workflow.rules.violation import Violation
from emflow.workflow.suggestions import did_you_mean
from emflow.workflow.topic_grants import ANY_THING, by_device
from emflow_schema.topics import OF_ALL, OF_RESULTS

LONGEST_THING = 63
"""Characters of a device's name in Edge Manager."""

NUCLEUS = "aws.greengrass.Nucleus"
INTERPOLATE = "interpolateComponentConfiguration"


def topics(workflow: Workflow) -> Iterator[Violation]:
    publish, thing = workflow.edge.publish, workflow.cloud.deployment.target.thing or "x" * LONGEST_THING
    streams = [stream.name for stream in workflow.edge.streams]
    for key, fault in publish.topic_faults(thing, workflow.cloud.model.name, streams):
        known = OF_RESULTS if key == "topic" else OF_ALL
        mend = (did_you_mean(fault.place, dict.fromkeys(known)) if fault.place else "") or fault.mend
        message = f"edge.publish.{key} cannot be {getattr(publish, key)!r}: {fault.message}"
        yield Violation(("edge", "publish", key), message, mend)


def expiry(workflow: Workflow) -> Iterator[Violation]:
    for fault in workflow.edge.publish.faults():
        yield Violation(("edge", "publish", fault.key), fault.message, fault.mend)


def filled_in_by_the_nucleus(workflow: Workflow) -> Iterator[Violation]:
    """https://docs.aws.amazon.com/greengrass/v2/developerguide/interprocess-communication.html says what it needs."""
    if not by_device(workflow):
        return
    for given in workflow.cloud.deployment.settings:
        if given.component == NUCLEUS and str(given.configuration.get(INTERPOLATE)).lower() == "true":
            return
    yield Violation(
        ("edge", "publish", "topic"),
        f"for a thing group, {{thing}} is granted as {ANY_THING}, which a nucleus fills in when {INTERPOLATE} is true",
        f"cloud.deployment.settings: [{{component: {NUCLEUS}, configuration: {{{INTERPOLATE}: true}}}}]",
    )
