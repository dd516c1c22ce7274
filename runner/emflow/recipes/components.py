"""The components that a workflow makes: the application, and those under `components`; each with zip and recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emflow.recipes.bundle import Bundle, application_bundle, bundle_key, folder_bundle, names_in
from emflow.recipes.configuration import application_configuration
from emflow.recipes.render import Artifact, RenderedRecipe, render_application, render_component
from emflow.workflow.model import OwnComponent, Workflow
from emflow.workflow.variables.limits import Budget

APPLICATION = "edge.component"
"""The application component's key path in a workflow."""


@dataclass(frozen=True)
class WorkflowComponent:
    """A component that the workflow makes.

    Attributes:
        key: its key path in the workflow, such as `edge.component`.
        version: as in the workflow: `auto`, or three numbers.
        bundle: its zip; None when it has no files.
        uri: the S3 address of the zip; empty when there is none.
        rendered: version → the recipe, not checked. Raises Problem when its template is missing or wrong.
        configuration: version → the configuration that the deployment sets.
    """

    key: str
    name: str
    version: str
    bundle: Bundle | None
    uri: str
    rendered: Callable[[str], RenderedRecipe] = field(repr=False, compare=False)
    configuration: Callable[[str], Mapping[str, Any]] = field(repr=False, compare=False)

    def recipe(self, version: str) -> str:
        """The recipe's text. Raises Problem when a device could not run it."""
        return self.rendered(version).checked()

    @property
    def is_application(self) -> bool:
        return self.key == APPLICATION

    @property
    def bundle_key(self) -> str:
        """The zip's S3 key."""
        return bundle_key(self.name, self.bundle) if self.bundle else ""


def workflow_components(workflow: Workflow) -> tuple[WorkflowComponent, ...]:
    """The application, then the workflow's `components` in their order.

    Raises:
        Problem: a file of one of them is missing or unusable.
    """
    budget = Budget()
    own = (
        own_component(workflow, each, f"components[{index}]", budget) for index, each in enumerate(workflow.components)
    )
    return (application_component(workflow, budget), *own)


def application_component(workflow: Workflow, budget: Budget | None = None) -> WorkflowComponent:
    """The application component; `budget` is for its template. Raises Problem when a file is missing or unusable."""
    component, bundle = workflow.edge.component, application_bundle(workflow)
    uri, contents = _uri(workflow, component.name, bundle), names_in(bundle)
    return WorkflowComponent(
        key=APPLICATION,
        name=component.name,
        version=component.version,
        bundle=bundle,
        uri=uri,
        rendered=lambda version: render_application(workflow, version, uri, contents, budget),
        configuration=lambda version: application_configuration(workflow, version),
    )


def own_component(
    workflow: Workflow, component: OwnComponent, key: str, budget: Budget | None = None
) -> WorkflowComponent:
    """One of the workflow's `components`, at the key path `key`. Raises Problem when its folder is unusable."""
    bundle = folder_bundle(workflow, component.artifacts, f"{key}.artifacts") if component.artifacts else None
    uri = _uri(workflow, component.name, bundle) if bundle else ""
    artifact, contents = (Artifact(uri, bundle.name), names_in(bundle)) if bundle else (None, frozenset[str]())
    return WorkflowComponent(
        key=key,
        name=component.name,
        version=component.version,
        bundle=bundle,
        uri=uri,
        rendered=lambda version: render_component(workflow, component, key, version, artifact, contents, budget),
        configuration=lambda _: component.configuration,
    )


def _uri(workflow: Workflow, component: str, bundle: Bundle) -> str:
    return f"s3://{workflow.cloud.buckets.components.name}/{bundle_key(component, bundle)}"
