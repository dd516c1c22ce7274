"""Chooses the version of a component for a device: the newest that meets all requirements and matches the platform."""

from __future__ import annotations

from typing import Any

from emflow.versions import satisfies
from emflow_emulator.aws.errors import ApiError, invalid
from emflow_emulator.aws.greengrass.components import Component, Components
from emflow_emulator.aws.protocol import Handler, Params


class Resolver:
    """ResolveComponentCandidates, which a core device calls for each component of a deployment."""

    def __init__(self, components: Components) -> None:
        self._components = components

    @property
    def handlers(self) -> dict[str, Handler]:
        return {"ResolveComponentCandidates": self._resolve}

    def _resolve(self, params: Params) -> dict[str, Any]:
        platform = (params.get("platform") or {}).get("attributes") or {}
        return {
            "resolvedComponentVersions": [
                _answer(self._choose(candidate, platform)) for candidate in params.get("componentCandidates", [])
            ]
        }

    def _choose(self, candidate: dict[str, Any], platform: dict[str, str]) -> Component:
        name = candidate.get("componentName")
        if not name:
            raise invalid("A component candidate needs a name.", ("componentCandidates", "componentName is missing"))
        requirements: dict[str, str] = candidate.get("versionRequirements") or {}
        exact = candidate.get("componentVersion")
        for component in self._components.versions(name):
            if exact not in (None, component.recipe.version) or not component.deployable:
                continue
            if component.recipe.fits(platform) and all(_fits(component, text) for text in requirements.values()):
                return component
        wanted = ", ".join(f"{who} requires {text}" for who, text in requirements.items()) or exact or "any version"
        raise ApiError(
            "ResourceNotFoundException",
            f"No version of component {name} fits the platform {platform or 'any'} and the requirements: {wanted}.",
            resourceId=name,
            resourceType="component",
        )


def _fits(component: Component, requirement: str) -> bool:
    try:
        return satisfies(component.recipe.version, requirement)
    except ValueError as error:
        raise invalid(str(error), ("versionRequirements", str(error))) from error


def _answer(component: Component) -> dict[str, Any]:
    return {
        "arn": component.arn,
        "componentName": component.recipe.name,
        "componentVersion": component.recipe.version,
        "recipe": component.recipe.text("JSON"),
        "vendorGuidance": "ACTIVE",
    }
