"""The components that a workflow makes: the application, and the user's own; each with its zip, recipe and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emflow.recipes.bundle import Bundle, application_bundle, bundle_key, folder_bundle, names_in
from emflow.recipes.configuration import application_configuration
from emflow.recipes.render import Artifact, application_recipe, component_recipe
from emflow.workflow.model import OwnComponent, Workflow


@dataclass(frozen=True)
class Ours:
    """One component of ours.

    Attributes:
        key: where it stands in the workflow, such as `edge.component`.
        version: as the workflow has it: `auto`, or three numbers.
        bundle: its zip, None when it has none.
        uri: where the zip is stored.
        recipe: its recipe for a version. Raises Problem when it would not work.
        configuration: what the deployment of a version sets.
    """

    key: str
    name: str
    version: str
    bundle: Bundle | None
    uri: str
    recipe: Callable[[str], str] = field(repr=False, compare=False)
    configuration: Callable[[str], Mapping[str, Any]] = field(repr=False, compare=False)

    @property
    def application(self) -> bool:
        return self.key == APPLICATION

    @property
    def bundle_key(self) -> str:
        """The zip's S3 key."""
        return bundle_key(self.name, self.bundle) if self.bundle else ""


APPLICATION = "edge.component"


def components_of_ours(workflow: Workflow) -> tuple[Ours, ...]:
    """The application first, then the workflow's `components` in their order.

    Raises:
        Problem: a file that one of them is made of is missing or unusable.
    """
    own = (own_component(workflow, each, f"components[{index}]") for index, each in enumerate(workflow.components))
    return (application(workflow), *own)


def application(workflow: Workflow) -> Ours:
    """The application component."""
    component, bundle = workflow.edge.component, application_bundle(workflow)
    uri, contents = _uri(workflow, component.name, bundle), names_in(bundle)
    return Ours(
        key=APPLICATION,
        name=component.name,
        version=component.version,
        bundle=bundle,
        uri=uri,
        recipe=lambda version: application_recipe(workflow, version, uri, contents),
        configuration=lambda version: application_configuration(workflow, version),
    )


def own_component(workflow: Workflow, component: OwnComponent, key: str) -> Ours:
    """One of the workflow's `components`; `key` is its place there. Raises Problem for its folder."""
    bundle = folder_bundle(workflow, component.artifacts, f"{key}.artifacts") if component.artifacts else None
    uri = _uri(workflow, component.name, bundle) if bundle else ""
    artifact, contents = (Artifact(uri, bundle.name), names_in(bundle)) if bundle else (None, frozenset[str]())
    return Ours(
        key=key,
        name=component.name,
        version=component.version,
        bundle=bundle,
        uri=uri,
        recipe=lambda version: component_recipe(workflow, component, key, version, artifact, contents),
        configuration=lambda _: component.configuration,
    )


def _uri(workflow: Workflow, component: str, bundle: Bundle) -> str:
    return f"s3://{workflow.cloud.buckets.components.name}/{bundle_key(component, bundle)}"
