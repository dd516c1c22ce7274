"""All that `emflow render` writes: what apply would send, as files, made without any network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emflow.problems import UsageProblem
from emflow.recipes.bundle import application_bundle, bundle_key
from emflow.recipes.deployment import (
    agent_settings,
    application_configuration,
    deployment_components,
)
from emflow.recipes.render import application_recipe
from emflow.workflow.model import AGENT_COMPONENT, Workflow

FIRST_VERSION = "1.0.0"
"""What `version: auto` is without asking AWS; apply takes the next patch of what is there."""

ACCOUNT = "<account>"
"""Stands in the target's ARN: which account it is, only credentials say."""


def documents(workflow: Workflow, component: str | None = None) -> dict[str, bytes | str]:
    """Path in the output folder → content; the same bytes every time.

    - `recipes/<component>-<version>.yaml`: the application component's recipe
    - `artifacts/…/emflow-edge.zip`: its bundle, under its S3 key
    - `configuration/<component>.json`: each configured component's configuration
    - `deployment.json`: CreateDeployment's request; `latest` and the account are filled in by apply

    Args:
        component: only what belongs to this component.

    Raises:
        Problem: labels are missing, or the recipe cannot be made.
        UsageProblem: nothing is rendered for `component`.
    """
    edge = workflow.edge.component
    known = {edge.name, AGENT_COMPONENT}
    if component is not None and component not in known:
        what = f"nothing is rendered for the component {component!r}"
        raise UsageProblem(what, where="--component", mend=f"one of: {', '.join(sorted(known))}")
    version = FIRST_VERSION if edge.version == "auto" else edge.version
    made: dict[str, bytes | str] = {}
    if component in (None, edge.name):
        bundle = application_bundle(workflow)
        key = bundle_key(workflow, bundle)
        uri = f"s3://{workflow.cloud.buckets.components.name}/{key}"
        made[f"recipes/{edge.name}-{version}.yaml"] = application_recipe(workflow, version, uri)
        made[f"configuration/{edge.name}.json"] = _json(application_configuration(workflow, version))
        made[key] = bundle.data
    if component in (None, AGENT_COMPONENT):
        made[f"configuration/{AGENT_COMPONENT}.json"] = _json(agent_settings(workflow))
    if component is None:
        made["deployment.json"] = _json(_deployment(workflow, version))
    return dict(sorted(made.items()))


def _deployment(workflow: Workflow, version: str) -> dict[str, Any]:
    target = workflow.cloud.deployment.target
    return {
        "targetArn": f"arn:aws:iot:{workflow.aws.region}:{ACCOUNT}:{target.arn_suffix}",
        "deploymentName": workflow.cloud.deployment.name,
        "components": deployment_components(workflow, {}, version),
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
