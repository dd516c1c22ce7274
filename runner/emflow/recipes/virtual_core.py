"""Keys of recipes and deployments that do nothing on the virtual core of `emflow up` and `emflow local`.

All other documented keys do there what they do on a board. A value that is the default is not mentioned: it asks for
nothing. These are warnings of `emflow validate` only, because on a board such a key does what it says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from emflow.problems import Finding, Problem
from emflow.recipes.components import application_component, own_component
from emflow.workflow.load import Checked
from emflow.workflow.model import Workflow
from emflow.workflow.source.positions import KeyPath, format_path

CODE = "EM079"

DEPLOYMENT = {
    ("run_with", "user"): "every component runs as the user who started the device",
    ("run_with", "cpus"): "no component is limited",
    ("run_with", "memory_kb"): "no component is limited",
}
"""Under `cloud.deployment.settings[]`: what happens instead."""
WITHOUT_CONFIGURATION = ("aws.greengrass.Nucleus", "aws.greengrass.Cli")
"""Components of AWS that the virtual core has by name only."""
ROLLOUT = "its one device takes the deployment at once, without a limit of time"
"""What happens instead of `cloud.deployment.rollout`."""
PRIVILEGE = "every step runs as the user who started the device"
"""What happens instead of `RequiresPrivilege: true`."""
ATTRIBUTES = ("os", "architecture", "runtime")
"""The attributes of a Platform that the virtual core has."""

_MEND = "only a board shows what it does"


def findings(checked: Checked) -> Iterator[Finding]:
    """A warning for each such key in a workflow, and in the recipes that the user has written."""
    for place, message in _deployment(checked.workflow):
        yield _finding(checked, place, f"{format_path(place)} {message}")
    for place, text in _recipes_of_the_user(checked.workflow):
        for key, message in in_recipe(text):
            yield _finding(checked, place, f"{format_path(key)} of the recipe {message}")


def in_recipe(text: str) -> Iterator[tuple[KeyPath, str]]:
    """Such keys in a recipe, and what is to be said about each. Nothing of a text that is no recipe."""
    try:
        recipe = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    if not isinstance(recipe, Mapping):
        return
    yield from _privileged(_get(recipe, "Lifecycle"), ("Lifecycle",))
    manifests = _get(recipe, "Manifests")
    for index, manifest in enumerate(manifests if isinstance(manifests, list) else ()):
        if not isinstance(manifest, Mapping):
            continue
        place: KeyPath = ("Manifests", index)
        yield from _privileged(_get(manifest, "Lifecycle"), (*place, "Lifecycle"))
        platform = _get(manifest, "Platform")
        for name, value in (platform if isinstance(platform, Mapping) else {}).items():
            if str(name).lower() not in ATTRIBUTES and value not in ("*", "all"):
                what = "the device does not have this attribute, and never uses this manifest"
                yield (*place, "Platform", str(name)), _nothing(what)


def _deployment(workflow: Workflow) -> Iterator[tuple[KeyPath, str]]:
    deployment = workflow.cloud.deployment
    top: KeyPath = ("cloud", "deployment")
    for index, settings in enumerate(deployment.settings):
        if settings.component in WITHOUT_CONFIGURATION and settings.configuration:
            yield (*top, "settings", index, "configuration"), _nothing(f"it has no {settings.component} of AWS's")
        for path, instead in DEPLOYMENT.items():
            value: Any = settings
            for key in path:
                value = getattr(value, key, None)
            if value is not None:
                yield (*top, "settings", index, *path), _nothing(instead)
    if deployment.rollout is not None:
        yield (*top, "rollout"), _nothing(ROLLOUT)


def _recipes_of_the_user(workflow: Workflow) -> Iterator[tuple[KeyPath, str]]:
    """The recipes from templates beside the workflow; none where `validate` has another finding about it."""
    edge = workflow.edge.component
    try:
        if edge.recipe is not None:
            version = "0.0.0" if edge.version == "auto" else edge.version
            yield ("edge", "component", "recipe"), application_component(workflow).recipe(version)
    except Problem:
        pass
    for index, component in enumerate(workflow.components):
        try:
            ours = own_component(workflow, component, f"components[{index}]")
            yield ("components", index, "recipe"), ours.recipe("0.0.0" if ours.version == "auto" else ours.version)
        except Problem:
            continue


def _privileged(body: Any, place: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Steps that ask for a privilege, wherever they are in a lifecycle; a recipe-wide one has selections in between."""
    for key, value in (body if isinstance(body, Mapping) else {}).items():
        if str(key).lower() == "requiresprivilege":
            if str(value).lower() == "true":
                yield (*place, str(key)), _nothing(PRIVILEGE)
        else:
            yield from _privileged(value, (*place, str(key)))


def _nothing(instead: str) -> str:
    return f"does nothing on the virtual core of `emflow up`: {instead}"


def _get(document: Mapping[Any, Any], key: str) -> Any:
    """The value of a key in any case, as the classic nucleus reads it."""
    return next((value for name, value in document.items() if str(name).lower() == key.lower()), None)


def _finding(checked: Checked, place: KeyPath, message: str) -> Finding:
    return dataclasses.replace(checked.document.finding(CODE, place, message, _MEND), severity="warning")
