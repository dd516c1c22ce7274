"""Topics that the application publishes to: with places for names in them, and filled with the workflow's own."""

from __future__ import annotations

from collections.abc import Iterator

from emflow.workflow.model import Workflow
from emflow_schema.topics import fill, places

ANY_THING = "{iot:thingName}"
"""The device's name as a nucleus knows it: https://docs.aws.amazon.com/greengrass/v2/developerguide/
interprocess-communication.html#ipc-authorization-policy-recipe-variables"""


def by_device(workflow: Workflow) -> bool:
    """Whether a topic has the name of a device in it that only the device itself knows."""
    publish = workflow.edge.publish
    given = (publish.topic, publish.status_topic, publish.metrics_topic)
    return workflow.cloud.deployment.target.thing is None and any("thing" in places(each or "") for each in given)


def granted(workflow: Workflow) -> tuple[str, ...]:
    """What the component has to be allowed to publish to, each once and no more: the resources of its accessControl."""
    thing = workflow.cloud.deployment.target.thing or ANY_THING
    return tuple(dict.fromkeys((*results(workflow, thing), *_others(workflow, thing))))


def results(workflow: Workflow, thing: str) -> tuple[str, ...]:
    """The topics of a device's results, each once."""
    names = {"thing": thing, "model": workflow.cloud.model.name}
    filled = (fill(workflow.edge.publish.topic, {**names, "stream": each.name}) for each in workflow.edge.streams)
    return tuple(dict.fromkeys(filled))


def _others(workflow: Workflow, thing: str) -> Iterator[str]:
    names = {"thing": thing, "model": workflow.cloud.model.name}
    for template in (workflow.edge.publish.status_topic, workflow.edge.publish.metrics_topic):
        if template is not None:
            yield fill(template, names)
