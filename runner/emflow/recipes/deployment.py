"""The deployment: which components at which version, each with its configuration. Plain data, as the API takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emflow.recipes.configuration import agent_settings, application_configuration
from emflow.workflow.model import AGENT_COMPONENT, Settings, Stream, Workflow

SECRETS = "aws.greengrass.SecretManager"
"""AWS's public component that brings secrets to a device."""


def application_dependencies(workflow: Workflow) -> dict[str, str]:
    """What the application cannot do without, each with the versions that will do."""
    model = workflow.cloud.package.component
    return {
        model.name: f"={model.version}",
        AGENT_COMPONENT: ">=1.0.0",
        "aws.greengrass.TokenExchangeService": ">=2.0.0",
        **({SECRETS: ">=2.0.0"} if secrets(workflow) else {}),
    }


def secrets(workflow: Workflow) -> tuple[str, ...]:
    """The ARNs of the secrets that the application reads on the device, each once."""
    return tuple(dict.fromkeys(filter(None, map(_secret, workflow.edge.streams))))


def public_components(workflow: Workflow) -> dict[str, str]:
    """AWS's components of the deployment: the workflow's, and what the device needs to know of its secrets."""
    implied = {SECRETS: "latest"} if secrets(workflow) else {}
    return {**implied, **workflow.cloud.deployment.components}


def deployment_components(
    workflow: Workflow, versions: Mapping[str, str], application_version: str
) -> dict[str, dict[str, Any]]:
    """`components` of CreateDeployment: AWS's public ones, the model's, the application's, the user's own.

    Args:
        versions: the version that each of AWS's components and of the user's own is to have; the workflow's own word
            where it is missing.
        application_version: the application component's.
    """
    public = {
        name: {"componentVersion": versions.get(name, version)} for name, version in public_components(workflow).items()
    }
    model, application = workflow.cloud.package.component, workflow.edge.component
    components: dict[str, dict[str, Any]] = {
        **public,
        model.name: {"componentVersion": model.version},
        application.name: {
            "componentVersion": application_version,
            "configurationUpdate": _exactly(application_configuration(workflow, application_version)),
        },
    }
    for own in workflow.components:
        components[own.name] = {
            "componentVersion": versions.get(own.name, own.version),
            "configurationUpdate": _exactly(own.configuration),
        }
    for given in workflow.cloud.deployment.settings:
        components[given.component].update(_settings(given))
    if AGENT_COMPONENT in components:
        components[AGENT_COMPONENT]["configurationUpdate"] = _exactly(agent_settings(workflow))
    if secrets(workflow):
        components[SECRETS]["configurationUpdate"] = _exactly(secret_settings(workflow))
    return components


def secret_settings(workflow: Workflow) -> dict[str, Any]:
    """Which secrets the device keeps. References only: the values never leave Secrets Manager but for the device."""
    return {"cloudSecrets": [{"arn": arn} for arn in secrets(workflow)]}


def _settings(given: Settings) -> dict[str, Any]:
    """`configurationUpdate` and `runWith` of one of AWS's components, as far as the workflow gives them."""
    made: dict[str, Any] = {}
    if given.configuration or given.reset:
        merge = {"merge": json.dumps(given.configuration)} if given.configuration else {}
        made["configurationUpdate"] = {**merge, **({"reset": list(given.reset)} if given.reset else {})}
    if given.run_with:
        limits = {"cpus": given.run_with.cpus, "memory": given.run_with.memory_kb}
        limits = {name: value for name, value in limits.items() if value is not None}
        made["runWith"] = {
            **({"posixUser": given.run_with.user} if given.run_with.user else {}),
            **({"systemResourceLimits": limits} if limits else {}),
        }
    return made


def _secret(stream: Stream) -> str | None:
    """The ARN of the secret with a camera's credentials."""
    return stream.credentials.arn if stream.credentials is not None else None


def _exactly(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A merge is a patch on what a device has, so a key that left the workflow would stay: reset everything first."""
    return {"reset": [""], "merge": json.dumps(configuration)}
