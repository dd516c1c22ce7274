"""Checks of `accessControl`: what a component may do over the nucleus' interprocess communication (IPC)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from emflow.recipes.lint.context import RecipeContext
from emflow.recipes.lint.keys import key_findings
from emflow.recipes.reader.finding import RecipeFinding
from emflow.recipes.reader.keys import list_of
from emflow.recipes.reader.variables import without_quotes
from emflow.workflow.source.positions import KeyPath

POLICY = ("policyDescription", "operations", "resources")

MQTT, PUBLISH = "aws.greengrass.ipc.mqttproxy", "aws.greengrass#PublishToIoTCore"

SECRETS, READ = "aws.greengrass.SecretManager", "aws.greengrass#GetSecretValue"

NOT_ON_LITE = (
    READ,
    "aws.greengrass#PutComponentMetric",
    "aws.greengrass#GetThingShadow",
    "aws.greengrass#UpdateThingShadow",
    "aws.greengrass#DeleteThingShadow",
    "aws.greengrass#ListNamedShadowsForThing",
)
"""Operations that the lite nucleus 2.6 answers with ServiceError."""


def access_control(
    defaults: Mapping[str, Any], component: str, known: RecipeContext, *, lite: bool
) -> Iterator[RecipeFinding]:
    """Service, policy, operations and resources. A nucleus ignores policies that it cannot read: calls are refused."""
    top: KeyPath = ("ComponentConfiguration", "DefaultConfiguration", "accessControl")
    control = defaults.get("accessControl")
    granted: dict[tuple[str, str], list[str]] = {(MQTT, PUBLISH): [], (SECRETS, READ): []}
    if control is not None and not isinstance(control, dict):
        yield RecipeFinding(top, "has to be a map of services", severity="warning")
    near = {key.lower(): key for key in defaults}.get("accesscontrol")
    if near not in (None, "accessControl"):
        what, mend = "is in another case than documented, and has no effect", "write accessControl"
        yield RecipeFinding((*top[:-1], str(near)), what, mend, severity="warning")
    for service, policies in control.items() if isinstance(control, dict) else ():
        place = (*top, service)
        if not isinstance(policies, dict):
            what = "has to be a map of policies, each under a name of its own"
            yield RecipeFinding(place, what, severity="warning")
            continue
        for name, policy in policies.items():
            at = (*place, name)
            if not isinstance(policy, dict):
                yield RecipeFinding(at, "has to be a map with operations and resources", severity="warning")
                continue
            yield from _policy(policy, at, component, lite=lite)
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


def _policy(policy: Mapping[str, Any], place: KeyPath, component: str, *, lite: bool) -> Iterator[RecipeFinding]:
    yield from key_findings(policy, POLICY, place, lite=False)
    name = str(place[-1])
    if component not in name:  # of two policies with one name on a core, only one has an effect
        what = "has a name that another component's policy may have too"
        yield RecipeFinding(place, what, f"call it {component}:{name}", severity="warning")
    for key in ("operations", "resources"):
        given = policy.get(key)
        items = given if isinstance(given, list) else [given]
        if items and (any(map(without_quotes, items)) or (items is given and all(isinstance(i, str) for i in items))):
            continue  # a variable without quotes: the reader reports it
        what = "has to be a list of texts: this policy has no effect"
        yield RecipeFinding((*place, key), what, 'for example: ["…"]', severity="warning")
    for operation in list_of(policy, "operations"):
        if lite and operation in NOT_ON_LITE:
            what = f"{operation} is a call that the lite nucleus does not answer"
            mend = "do without it on the lite nucleus"
            if operation == READ:
                mend = "do without AWS Secrets Manager on the lite nucleus"
            yield RecipeFinding((*place, "operations"), what, mend, nucleus="lite")


def _covers(resource: str, name: str) -> bool:
    """Whether a resource, which may have wildcards, matches a topic or a secret."""
    pattern = "".join({"*": ".*", "+": "[^/]*", "#": ".*"}.get(part, re.escape(part)) for part in resource)
    return resource == name or re.fullmatch(pattern, name) is not None
