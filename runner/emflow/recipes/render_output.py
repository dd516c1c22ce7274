"""All that `emflow render` writes: what apply would send, as files, made without any network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emflow.problems import UsageProblem
from emflow.recipes.components import Ours, components_of_ours
from emflow.recipes.configuration import agent_settings
from emflow.recipes.deployment import SECRETS, deployment_components, secret_settings, secrets
from emflow.workflow.aws_regions import partition_of
from emflow.workflow.model import AGENT_COMPONENT, Workflow

FIRST_VERSION = "1.0.0"
"""What `version: auto` is without asking AWS; apply takes the next patch of what is there."""

ACCOUNT = "<account>"
"""Stands in the target's ARN: which account it is, only credentials say."""


def documents(workflow: Workflow, component: str | None = None) -> dict[str, bytes | str]:
    """Path in the output folder → content; the same bytes every time.

    - `recipes/<component>-<version>.yaml`: the recipe of each component of ours
    - `artifacts/…/*.zip`: its bundle, under its S3 key
    - `configuration/<component>.json`: each configured component's configuration
    - `deployment.json`: CreateDeployment's request; `latest` and the account are filled in by apply

    Args:
        component: only what belongs to this component.

    Raises:
        Problem: a file is missing, or a recipe would not work.
        UsageProblem: nothing is rendered for `component`.
    """
    settings = {
        **({AGENT_COMPONENT: agent_settings(workflow)} if AGENT_COMPONENT in _deployed(workflow) else {}),
        **({SECRETS: secret_settings(workflow)} if secrets(workflow) else {}),
    }
    names = [workflow.edge.component.name, *(own.name for own in workflow.components), *settings]
    if component is not None and component not in names:
        what = f"nothing is rendered for the component {component!r}"
        raise UsageProblem(what, where="--component", mend=f"one of: {', '.join(sorted(names))}")
    made: dict[str, bytes | str] = {}
    for ours in components_of_ours(workflow):
        if component in (None, ours.name):
            made |= _component(ours)
    for name, configuration in settings.items():
        if component in (None, name):
            made[f"configuration/{name}.json"] = _json(configuration)
    if component is None:
        made["deployment.json"] = _json(_deployment(workflow))
    return dict(sorted(made.items()))


def _component(ours: Ours) -> dict[str, bytes | str]:
    version = _version(ours.version)
    made: dict[str, bytes | str] = {f"recipes/{ours.name}-{version}.yaml": ours.recipe(version)}
    configuration = ours.configuration(version)
    if configuration:
        made[f"configuration/{ours.name}.json"] = _json(configuration)
    if ours.bundle is not None:
        made[ours.bundle_key] = ours.bundle.data
    return made


def _deployed(workflow: Workflow) -> dict[str, dict[str, Any]]:
    versions = {own.name: _version(own.version) for own in workflow.components}
    return deployment_components(workflow, versions, _version(workflow.edge.component.version))


def _deployment(workflow: Workflow) -> dict[str, Any]:
    target = workflow.cloud.deployment.target
    return {
        "targetArn": f"arn:{partition_of(workflow.aws.region)}:iot:{workflow.aws.region}:{ACCOUNT}:{target.arn_suffix}",
        "deploymentName": workflow.cloud.deployment.name,
        "components": _deployed(workflow),
    }


def _version(given: str) -> str:
    return FIRST_VERSION if given == "auto" else given


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
