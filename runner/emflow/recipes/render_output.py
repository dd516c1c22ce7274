"""The files that `emflow render` writes: what apply would send to AWS, made without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emflow.json_text import to_json
from emflow.problems import UsageProblem
from emflow.recipes.components import WorkflowComponent, workflow_components
from emflow.recipes.configuration import agent_settings
from emflow.recipes.deployment import SECRETS, deployment_components, secret_settings, secrets
from emflow.workflow.aws_regions import partition_of
from emflow.workflow.model import AGENT_COMPONENT, Workflow

FIRST_VERSION = "1.0.0"
"""Stands for `version: auto`; apply takes the next patch version after the one in AWS."""

ACCOUNT = "<account>"
"""Stands for the account in the target's ARN: rendering has no credentials to look it up."""


def rendered_files(workflow: Workflow, component: str | None = None) -> dict[str, bytes | str]:
    """Path in the output folder → content. The same workflow gives the same bytes.

    - `recipes/<component>-<version>.yaml`: the recipe of each component that the workflow makes
    - `artifacts/…/*.zip`: its files, under their S3 key
    - `configuration/<component>.json`: the configuration of each component that has one
    - `deployment.json`: the request of CreateDeployment; apply fills in `latest` and the account

    Args:
        component: only the files of this component.

    Raises:
        Problem: a file is missing, or a device could not run a recipe.
        UsageProblem: there are no files for `component`.
    """
    settings = {
        **({AGENT_COMPONENT: agent_settings(workflow)} if AGENT_COMPONENT in _deployment_components(workflow) else {}),
        **({SECRETS: secret_settings(workflow)} if secrets(workflow) else {}),
    }
    names = [workflow.edge.component.name, *(own.name for own in workflow.components), *settings]
    if component is not None and component not in names:
        what = f"there are no files for the component {component!r}"
        raise UsageProblem(what, where="--component", mend=f"one of: {', '.join(sorted(names))}")
    files: dict[str, bytes | str] = {}
    for each in workflow_components(workflow):
        if component in (None, each.name):
            files |= _component_files(each)
    for name, configuration in settings.items():
        if component in (None, name):
            files[f"configuration/{name}.json"] = _json(configuration)
    if component is None:
        files["deployment.json"] = _json(_deployment(workflow))
    return dict(sorted(files.items()))


def _component_files(component: WorkflowComponent) -> dict[str, bytes | str]:
    version = _version(component.version)
    files: dict[str, bytes | str] = {f"recipes/{component.name}-{version}.yaml": component.recipe(version)}
    configuration = component.configuration(version)
    if configuration:
        files[f"configuration/{component.name}.json"] = _json(configuration)
    if component.bundle is not None:
        files[component.bundle_key] = component.bundle.data
    return files


def _deployment_components(workflow: Workflow) -> dict[str, dict[str, Any]]:
    versions = {own.name: _version(own.version) for own in workflow.components}
    return deployment_components(workflow, versions, _version(workflow.edge.component.version))


def _deployment(workflow: Workflow) -> dict[str, Any]:
    target = workflow.cloud.deployment.target
    return {
        "targetArn": f"arn:{partition_of(workflow.aws.region)}:iot:{workflow.aws.region}:{ACCOUNT}:{target.arn_suffix}",
        "deploymentName": workflow.cloud.deployment.name,
        "components": _deployment_components(workflow),
    }


def _version(version: str) -> str:
    return FIRST_VERSION if version == "auto" else version


def _json(value: Mapping[str, Any]) -> str:
    return to_json(value, indent=2, ascii_only=False) + "\n"
