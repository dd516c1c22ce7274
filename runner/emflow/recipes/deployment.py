"""The deployment: components with versions and configurations, as plain data for the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emflow.json_text import to_json
from emflow.recipes.configuration import agent_settings, application_configuration
from emflow.workflow.model import AGENT_COMPONENT, Settings, Stream, Workflow

SECRETS = "aws.greengrass.SecretManager"
"""AWS's public component that makes secrets available on a device."""


def application_dependencies(workflow: Workflow) -> dict[str, str]:
    """The components that the application needs, each with its version requirement."""
    model = workflow.cloud.package.component
    return {
        model.name: f"={model.version}",
        AGENT_COMPONENT: ">=1.0.0",
        "aws.greengrass.TokenExchangeService": ">=2.0.0",
        **({SECRETS: ">=2.0.0"} if secrets(workflow) else {}),
    }


def secrets(workflow: Workflow) -> tuple[str, ...]:
    """The ARNs of the secrets that the application reads on the device, without duplicates."""
    return tuple(dict.fromkeys(filter(None, map(_secret, workflow.edge.streams))))


def public_components(workflow: Workflow) -> dict[str, str]:
    """AWS's components in the deployment: those that the workflow lists, and the secret manager if needed."""
    implied = {SECRETS: "latest"} if secrets(workflow) else {}
    return {**implied, **workflow.cloud.deployment.components}


def deployment_components(
    workflow: Workflow, versions: Mapping[str, str], application_version: str
) -> dict[str, dict[str, Any]]:
    """`components` of CreateDeployment: AWS's public ones, the model's, the application's, the user's own.

    Args:
        versions: component → version, for AWS's components and the user's own; a component that is missing here has
            the version in the workflow.
        application_version: the version of the application component.
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
            "configurationUpdate": _replace_configuration(application_configuration(workflow, application_version)),
        },
    }
    for own in workflow.components:
        components[own.name] = {
            "componentVersion": versions.get(own.name, own.version),
            "configurationUpdate": _replace_configuration(own.configuration),
        }
    for settings in workflow.cloud.deployment.settings:
        components[settings.component].update(_component_settings(settings))
    if AGENT_COMPONENT in components:
        components[AGENT_COMPONENT]["configurationUpdate"] = _replace_configuration(agent_settings(workflow))
    if secrets(workflow):
        components[SECRETS]["configurationUpdate"] = _replace_configuration(secret_settings(workflow))
    return components


def secret_settings(workflow: Workflow) -> dict[str, Any]:
    """The configuration of the secret manager. It holds references; the device itself fetches the values."""
    return {"cloudSecrets": [{"arn": arn} for arn in secrets(workflow)]}


def _component_settings(settings: Settings) -> dict[str, Any]:
    """`configurationUpdate` and `runWith` of one of AWS's components, if the workflow has them."""
    update: dict[str, Any] = {}
    if settings.configuration or settings.reset:
        merge = {"merge": to_json(settings.configuration)} if settings.configuration else {}
        update["configurationUpdate"] = {**merge, **({"reset": list(settings.reset)} if settings.reset else {})}
    if settings.run_with:
        limits = {"cpus": settings.run_with.cpus, "memory": settings.run_with.memory_kb}
        limits = {name: value for name, value in limits.items() if value is not None}
        update["runWith"] = {
            **({"posixUser": settings.run_with.user} if settings.run_with.user else {}),
            **({"systemResourceLimits": limits} if limits else {}),
        }
    return update


def _secret(stream: Stream) -> str | None:
    """The ARN of the secret with a camera's credentials."""
    return stream.credentials.arn if stream.credentials is not None else None


def _replace_configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A `configurationUpdate` that resets everything first: a merge alone would keep keys that left the workflow."""
    return {"reset": [""], "merge": to_json(configuration)}
