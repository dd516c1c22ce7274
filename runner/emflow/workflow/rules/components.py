"""Rules for what comes onto the device: every component finds there what it needs, at a version that serves it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from emflow.versions import is_version, parse_version, satisfies
from emflow.workflow.aws_regions import NEO_CLOUD, NEO_DEVICES, REGIONS
from emflow.workflow.model import AGENT_COMPONENT, Aws, Workflow
from emflow.workflow.rules.violation import Violation
from emflow.workflow.source.positions import KeyPath, format_path
from emflow.workflow.suggestions import did_you_mean
from emflow_schema.key import field_of

COMPONENTS: KeyPath = ("cloud", "deployment", "components")

NEEDED = {AGENT_COMPONENT: "1.0.0", "aws.greengrass.TokenExchangeService": "2.0.0"}
"""What the application's recipe depends on, and from which version."""

NAMED = {
    "aws.greengrass.Nucleus": "the next deployment may then take another minor version of the nucleus, and restart it",
    "aws.greengrass.TokenExchangeService": "the application's credentials then come from a version nobody chose",
}
"""Comes as somebody's dependency when it is not named: then AWS chooses the version, not the workflow."""

CONFIGURED = {
    AGENT_COMPONENT: "edge.agent and edge.capture",
    "aws.greengrass.SecretManager": "the credentials of edge.streams",
}
"""Whose configuration the workflow says elsewhere."""

AGENT_SOCKET_KEYS = ("agentSocket", "UnixSocketName")
"""Under which names a component's configuration holds the agent's socket: ours, and AWS's."""


def agent_deployed(workflow: Workflow) -> Iterator[Violation]:
    """A deployment replaces the whole set: leaving the agent out takes it off the device."""
    if AGENT_COMPONENT not in workflow.cloud.deployment.components:
        yield Violation(
            COMPONENTS,
            f"{AGENT_COMPONENT} is not deployed, so nothing on the device would answer the application",
            f"add {AGENT_COMPONENT}: latest",
        )


def needs(workflow: Workflow) -> Iterator[Violation]:
    deployed = workflow.cloud.deployment.components
    for name, least in NEEDED.items():
        version = deployed.get(name, "")
        if is_version(version) and parse_version(version) < parse_version(least):
            message = f"the application needs {name} {least} or newer, {version} would be deployed"
            yield Violation((*COMPONENTS, name), message, f"write latest, or {least} or newer")
    ours = {workflow.edge.component.name, workflow.cloud.package.component.name}
    ours |= {component.name for component in workflow.components}
    for index, component in enumerate(workflow.components):
        for name, requirement in component.dependencies.items():
            place: KeyPath = ("components", index, "dependencies", name)
            if name == component.name:
                yield Violation(place, f"{name!r} depends on itself", "remove the line")
            elif name in deployed:
                if is_version(deployed[name]) and not _satisfies(deployed[name], requirement):
                    message = f"{component.name!r} needs {name} {requirement}, {deployed[name]} would be deployed"
                    yield Violation(place, message, f"change it here, or under {format_path(COMPONENTS)}")
            elif name not in ours and not name.startswith("aws.greengrass."):
                mend = did_you_mean(name, dict.fromkeys(ours)) or "add it under `components`"
                yield Violation(place, f"{component.name!r} needs {name!r}, which this workflow does not deploy", mend)


def named(workflow: Workflow) -> Iterator[Violation]:
    for name, why in NAMED.items():
        if name not in workflow.cloud.deployment.components:
            yield Violation(COMPONENTS, f"{name} is not named: {why}", f"add {name}: latest, or the version in use")


def settings(workflow: Workflow) -> Iterator[Violation]:
    deployed = workflow.cloud.deployment.components
    seen: set[str] = set()
    for index, given in enumerate(workflow.cloud.deployment.settings):
        place: KeyPath = ("cloud", "deployment", "settings", index, "component")
        if given.component not in deployed:
            mend = did_you_mean(given.component, deployed) or f"add it under {format_path(COMPONENTS)}"
            yield Violation(place, f"{given.component!r} is not among {format_path(COMPONENTS)}", mend)
        elif given.component in CONFIGURED and (given.configuration or given.reset):
            yield Violation(place, f"{given.component} is configured by {CONFIGURED[given.component]}", "set it there")
        elif given.component in seen:
            yield Violation(place, f"{given.component!r} has settings already", "put them together")
        seen.add(given.component)


def one_socket(workflow: Workflow) -> Iterator[Violation]:
    socket = workflow.edge.agent.socket
    for index, component in enumerate(workflow.components):
        for key in AGENT_SOCKET_KEYS:
            other = component.configuration.get(key)
            if isinstance(other, str) and _path(other) != _path(socket):
                yield Violation(
                    ("components", index, "configuration", key),
                    f"{component.name!r} looks for the agent at {other}, the agent listens at {socket}",
                    "write the same path as in edge.agent.socket",
                )


def access(workflow: Workflow) -> Iterator[Violation]:
    """Access policies of components of the user's own: each grants topics that can be meant."""
    for index, component in enumerate(workflow.components):
        place: KeyPath = ("components", index, "configuration", "accessControl")
        granted = component.configuration.get("accessControl")
        proxy = granted.get("aws.greengrass.ipc.mqttproxy") if isinstance(granted, Mapping) else None
        for policy, body in proxy.items() if isinstance(proxy, Mapping) else ():
            resources = body.get("resources", []) if isinstance(body, Mapping) else []
            for number, topic in enumerate(resources if isinstance(resources, list) else []):
                why = _topic_fault(topic)
                if why:
                    at = (*place, "aws.greengrass.ipc.mqttproxy", policy, "resources", number)
                    yield Violation(
                        at, f"the policy {policy!r} grants {topic!r}: {why}", "grant the topics that are used"
                    )


def region(workflow: Workflow) -> Iterator[Violation]:
    """Edge Manager only where it was; a region that Greengrass has since been opened in needs a newer emflow."""
    name = workflow.aws.region
    if not re.fullmatch(field_of(Aws, "region").shape.pattern, name):
        return  # no region at all: the schema has said so
    used = [service for service in REGIONS if service != "SageMaker Edge Manager" or _edge_manager(workflow)]
    for service in used:
        if name not in REGIONS[service]:
            near = did_you_mean(name, dict.fromkeys(REGIONS[service])) if not _known(name) else ""
            mend = near or f"{service} is in: {', '.join(sorted(REGIONS[service]))}"
            yield Violation(("aws", "region"), f"{service} is not in the region {name!r}", mend)
            return


def neo_target(workflow: Workflow) -> Iterator[Violation]:
    device, framework = workflow.cloud.compile.target_device, workflow.cloud.model.framework
    place: KeyPath = ("cloud", "compile", "target_device")
    if device in NEO_CLOUD:
        yield Violation(place, f"Neo does not compile {framework} for {device!r}, which is no edge device", _devices())
    elif device not in NEO_DEVICES:
        mend = did_you_mean(device, dict.fromkeys(NEO_DEVICES)) or _devices()
        yield Violation(place, f"Neo has no target device {device!r}", mend)


def discontinued(workflow: Workflow) -> Iterator[Violation]:
    if _edge_manager(workflow):
        yield Violation(
            ("edge", "agent", "provider"),
            "AWS discontinued SageMaker Edge Manager on 26 April 2024: it serves existing installations only",
            "for a new installation run emflow-agent on the device: it answers the same calls on the same socket",
        )


def _edge_manager(workflow: Workflow) -> bool:
    return workflow.edge.agent.provider == "edge-manager"


def _known(region: str) -> bool:
    return any(region in regions for regions in REGIONS.values())


def _devices() -> str:
    return f"one of: {', '.join(sorted(NEO_DEVICES))}"


def _path(text: str) -> str:
    """A socket's path as gRPC addresses spell it, without what only they write."""
    return re.sub(r"^unix:(?://)?", "", text)


def _satisfies(version: str, requirement: str) -> bool:
    try:
        return satisfies(version, requirement)
    except ValueError:  # reported by the check of the recipe that contains the requirement
        return True


def _topic_fault(topic: Any) -> str:
    if not isinstance(topic, str) or not topic:
        return "that is no topic"
    if topic in ("*", "#"):
        return "that is every topic of the account"
    if "#" in topic[:-1] or (topic.endswith("#") and not topic.endswith("/#")):
        return "`#` can only be the last level"
    if any("+" in level and level != "+" for level in topic.split("/")):
        return "`+` can only be a whole level"
    return ""
