"""Topics that the application publishes to: with places for names in them, and filled with the workflow's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emflow.workflow.model import Workflow

OF_ALL = ("thing", "model")
OF_RESULTS = ("thing", "stream", "model")
"""The places that a topic may have, by whose it is."""

ANY_THING = "{iot:thingName}"
"""The device's name as a nucleus knows it: https://docs.aws.amazon.com/greengrass/v2/developerguide/
interprocess-communication.html#ipc-authorization-policy-recipe-variables"""

_PLACE = re.compile(r"\{([^{}]*)\}")


def places(template: str) -> tuple[str, ...]:
    """The names in braces, each once."""
    return tuple(dict.fromkeys(_PLACE.findall(template)))


def without_places(template: str) -> str:
    return _PLACE.sub("", template)


def fill(template: str, names: Mapping[str, str]) -> str:
    """The template with each place of a known name filled; others stay."""
    return _PLACE.sub(lambda place: names.get(place[1], place[0]), template)


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
