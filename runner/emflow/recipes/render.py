"""The application component's recipe, from a template; nothing leaves here that Greengrass could not read."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml
from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from emflow.problems import Problem
from emflow.recipes.bundle import BUNDLE
from emflow.workflow.model import Workflow

TEMPLATE = "application.recipe.yaml.j2"


def application_recipe(workflow: Workflow, version: str, bundle_uri: str) -> str:
    """The recipe as YAML text.

    Args:
        version: the component version, three numbers; `auto` has been decided by then.
        bundle_uri: `s3://bucket/key` of the application bundle.

    Raises:
        Problem: what comes out is not the recipe that was asked for; a mistake in the template.
    """
    text = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            component=workflow.edge.component,
            model_component=workflow.cloud.package.component,
            topic=workflow.edge.publish.topic,
            version=version,
            bundle_uri=bundle_uri,
            folder=BUNDLE.removesuffix(".zip"),
        )
    )
    _check(text, workflow, version, bundle_uri)
    return text


@cache
def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        loader=PackageLoader("emflow.recipes"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["quoted"] = _quoted
    return environment


def _quoted(text: str) -> str:
    """A YAML double-quoted string on one line."""
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9)
    return quoted.rstrip("\n")


def _check(text: str, workflow: Workflow, version: str, bundle_uri: str) -> None:
    """Read the recipe back and compare what a device will go by."""
    name = workflow.edge.component.name
    try:
        recipe: dict[str, Any] = yaml.safe_load(text)
        manifest = recipe["Manifests"][0]
        (policy,) = recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"].values()
        found = {
            "RecipeFormatVersion": recipe["RecipeFormatVersion"],
            "ComponentName": recipe["ComponentName"],
            "ComponentVersion": recipe["ComponentVersion"],
            "dependency on the model": workflow.cloud.package.component.name in recipe["ComponentDependencies"],
            "topics": [topic for entry in policy.values() for topic in entry["resources"]],
            "artifact": [artifact["URI"] for artifact in manifest["Artifacts"]],
            "script": manifest["Lifecycle"]["run"]["Script"].count("\n"),
        }
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Problem(f"the recipe of {name} does not come out as a recipe: {error}", where=TEMPLATE) from error
    wanted = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "dependency on the model": True,
        "topics": [workflow.edge.publish.topic],
        "artifact": [bundle_uri],
        "script": 1,
    }
    wrong = [key for key, value in wanted.items() if found[key] != value]
    if wrong:
        raise Problem(f"the recipe of {name} comes out with another {', '.join(wrong)}", where=TEMPLATE)
