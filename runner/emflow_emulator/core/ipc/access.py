"""Authorization of IPC operations: `accessControl` in a component's configuration.

Its structure is service → policy → `operations` and `resources`. A resource may contain `*` for any text and, for MQTT,
`+` for one level and a final `#` for all further levels; `${*}`, `${+}` and `${#}` mean the character itself.
https://docs.aws.amazon.com/greengrass/v2/developerguide/interprocess-communication.html#ipc-authorization-policies
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

MQTT_PROXY = "aws.greengrass.ipc.mqttproxy"
PUBSUB = "aws.greengrass.ipc.pubsub"
METRICS = "aws.greengrass.ipc.componentmetric"
CLI = "aws.greengrass.Cli"

_TOKEN = re.compile(r"\$\{(?P<escaped>.)\}|(?P<any>\*)|(?P<level>(?<![^/])\+(?![^/]))|(?P<rest>(?P<slash>/|^)#$)")


def allowed(configuration: Mapping[str, Any], service: str, operation: str, resource: str, thing: str) -> bool:
    """Whether the component with this configuration may call an operation on a resource.

    Args:
        operation: such as `aws.greengrass#PublishToIoTCore`.
        resource: the topic, the topic filter, the secret's ARN or name, or the component.
        thing: the value of `{iot:thingName}` in resources.
    """
    return any(
        matches(pattern.replace("{iot:thingName}", thing), resource)
        for operations, resources in _policies(configuration, service)
        if operation in operations or "*" in operations
        for pattern in resources
    )


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic matches a resource."""
    expression, done = "", 0
    for found in _TOKEN.finditer(pattern):
        expression += re.escape(pattern[done : found.start()]) + _meaning(found)
        done = found.end()
    return re.fullmatch(expression + re.escape(pattern[done:]), topic, re.DOTALL) is not None


def _meaning(token: re.Match[str]) -> str:
    if token["escaped"]:
        return re.escape(token["escaped"])
    if token["any"]:
        return ".*"
    if token["level"]:
        # In a topic filter, `#` matches more than one level.
        return "[^/#]*"
    # A topic without a further level is not among them, as it is for a broker: seen on the lite nucleus 2.6.
    return "/.*" if token["slash"] else ".*"


def _policies(configuration: Mapping[str, Any], service: str) -> Iterator[tuple[list[str], list[str]]]:
    control = configuration.get("accessControl")
    policies = control.get(service) if isinstance(control, Mapping) else None
    for policy in policies.values() if isinstance(policies, Mapping) else ():
        if isinstance(policy, Mapping):
            yield _texts(policy.get("operations")), _texts(policy.get("resources"))


def _texts(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []
