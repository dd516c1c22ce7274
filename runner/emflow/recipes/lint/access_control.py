"""Checks of `accessControl`: what a component may do over the nucleus' interprocess communication (IPC)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from emflow.recipes.lint.context import RecipeContext
from emflow.recipes.lint.finding import RecipeFinding
from emflow.recipes.lint.keys import key_findings, list_of
from emflow.workflow.source.positions import KeyPath

POLICY = ("policyDescription", "operations", "resources")

MQTT, PUBLISH = "aws.greengrass.ipc.mqttproxy", "aws.greengrass#PublishToIoTCore"

SECRETS, READ = "aws.greengrass.SecretManager", "aws.greengrass#GetSecretValue"


def access_control(defaults: Mapping[str, Any], component: str, known: RecipeContext) -> Iterator[RecipeFinding]:
    """Service, policy, operations and resources. A spelling error in them shows on the device only."""
    top: KeyPath = ("ComponentConfiguration", "DefaultConfiguration", "accessControl")
    control = defaults.get("accessControl", {})
    granted: dict[tuple[str, str], list[str]] = {(MQTT, PUBLISH): [], (SECRETS, READ): []}
    if not isinstance(control, dict):
        yield RecipeFinding(top, "has to be a map of services")
        return
    near = {key.lower(): key for key in defaults}.get("accesscontrol")
    if near not in (None, "accessControl"):
        yield RecipeFinding((*top[:-1], str(near)), "is in another case than documented", "write accessControl")
    for service, policies in control.items():
        place = (*top, str(service))
        if not isinstance(policies, dict):
            yield RecipeFinding(place, "has to be a map of policies, each under a name of its own")
            continue
        for name, policy in policies.items():
            at = (*place, str(name))
            if not isinstance(policy, dict):
                yield RecipeFinding(at, "has to be a map with operations and resources")
                continue
            yield from key_findings(policy, POLICY, at)
            if component not in str(name):  # of two policies with one name on a core, only one has an effect
                yield RecipeFinding(
                    at, "has a name that another component's policy may have too", f"call it {component}:{name}"
                )
            for key in ("operations", "resources"):
                given = policy.get(key)
                if not isinstance(given, list) or not given or not all(isinstance(each, str) for each in given):
                    yield RecipeFinding((*at, key), "has to be a list of texts", 'for example: ["…"]')
            operations = {str(each) for each in list_of(policy, "operations")}
            for (of, operation), resources in granted.items():
                if service == of and operations & {operation, "*"}:
                    resources += map(str, list_of(policy, "resources"))
    if known.publishes and {"*", "#"} & set(granted[MQTT, PUBLISH]):
        yield RecipeFinding(top, "lets it publish to every topic", f"grant what it needs: {', '.join(known.publishes)}")
    for (of, operation), wanted in {(MQTT, PUBLISH): known.publishes, (SECRETS, READ): known.reads}.items():
        for name in wanted:
            if not any(_covers(each, name) for each in granted[of, operation]):
                yield RecipeFinding(top, f"does not let it use {name}", f"grant {operation} on it under {of}")


def _covers(resource: str, name: str) -> bool:
    """Whether a resource, which may have wildcards, matches a topic or a secret."""
    pattern = "".join({"*": ".*", "+": "[^/]*", "#": ".*"}.get(part, re.escape(part)) for part in resource)
    return resource == name or re.fullmatch(pattern, name) is not None
