"""Rules for the topics that the application publishes to, which its accessControl grants one by one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from emflow.workflow.model import Workflow
from emflow.workflow.rules.violation import Offence
from emflow.workflow.source.positions import KeyPath
from emflow.workflow.suggestions import did_you_mean
from emflow.workflow.topic_grants import ANY_THING, OF_ALL, OF_RESULTS, by_device, fill, places, without_places

LONGEST, MOST_SLASHES = 256, 7
"""Bytes and slashes of a topic: AWS IoT's."""

LONGEST_THING = 63
"""Characters of a device's name in Edge Manager."""

NUCLEUS = "aws.greengrass.Nucleus"
INTERPOLATE = "interpolateComponentConfiguration"


def topics(workflow: Workflow) -> Iterator[Offence]:
    publish = workflow.edge.publish
    given = (
        ("topic", publish.topic, OF_RESULTS),
        ("status_topic", publish.status_topic, OF_ALL),
        ("metrics_topic", publish.metrics_topic, OF_ALL),
    )
    for key, template, known in given:
        if template is None:
            continue
        why, mend = _fault(workflow, template, known)
        if why:
            place: KeyPath = ("edge", "publish", key)
            yield Offence(place, f"edge.publish.{key} cannot be {template!r}: {why}", mend)
    if publish.status_topic is not None and publish.status_topic in (publish.topic, publish.metrics_topic):
        yield Offence(
            ("edge", "publish", "status_topic"),
            "the status has the topic of something else; it is retained, for whoever comes later",
            "give it a topic of its own",
        )


def expiry(workflow: Workflow) -> Iterator[Offence]:
    publish = workflow.edge.publish
    if publish.mqtt != "5" and re.search("[1-9]", publish.expiry):
        message = f"messages expire in MQTT 5 only, the component speaks {publish.mqtt}"
        yield Offence(("edge", "publish", "expiry"), message, 'write mqtt: "5" beside it')


def filled_in_by_the_nucleus(workflow: Workflow) -> Iterator[Offence]:
    """https://docs.aws.amazon.com/greengrass/v2/developerguide/interprocess-communication.html says what it needs."""
    if not by_device(workflow):
        return
    for given in workflow.cloud.deployment.settings:
        if given.component == NUCLEUS and str(given.configuration.get(INTERPOLATE)).lower() == "true":
            return
    yield Offence(
        ("edge", "publish", "topic"),
        f"for a thing group, {{thing}} is granted as {ANY_THING}, which a nucleus fills in when {INTERPOLATE} is true",
        f"cloud.deployment.settings: [{{component: {NUCLEUS}, configuration: {{{INTERPOLATE}: true}}}}]",
    )


def _fault(workflow: Workflow, template: str, known: tuple[str, ...]) -> tuple[str, str]:
    """What is wrong with a topic, and what to do about it; empty when nothing is."""
    example = "for example: em/inference"
    for place in places(template):
        if place not in known:
            takes = ", ".join(f"{{{name}}}" for name in known)
            return f"{{{place}}} is no place for a name", did_you_mean(
                place, dict.fromkeys(known)
            ) or f"it takes {takes}"
    fixed = without_places(template)
    # Greengrass reads * and ? in an access policy's resource as wildcards, and $ as an escape: they would grant more.
    bad = next((sign for sign in fixed if sign in "#+*?${}" or _no_character(sign)), None)
    if bad is not None:
        mend = "places are written {thing}, {stream}, {model}" if bad in "{}" else example
        return f"{bad!r} cannot stand in a topic to publish to", mend
    longest = _longest(workflow, template)
    if not longest or longest.startswith("/") or longest.endswith("/") or "//" in longest:
        return "a level is empty", example
    size, filled = len(longest.encode()), " with the longest names" if longest != template else ""
    if size > LONGEST:
        return f"it has {size} bytes{filled}, AWS IoT takes {LONGEST}", example
    if longest.count("/") > MOST_SLASHES:
        return f"it has {longest.count('/')} slashes, AWS IoT takes {MOST_SLASHES}", example
    return "", ""


def _longest(workflow: Workflow, template: str) -> str:
    thing = workflow.cloud.deployment.target.thing or "x" * LONGEST_THING
    stream = max((each.name for each in workflow.edge.streams), key=len, default="")
    return fill(template, {"thing": thing, "stream": stream, "model": workflow.cloud.model.name})


def _no_character(sign: str) -> bool:
    """Controls, and code points that are none: MQTT lets a broker refuse them."""
    code = ord(sign)
    return unicodedata.category(sign) == "Cc" or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
