"""Resolves a deployment to component versions, with all their dependencies.

The cloud chooses the versions (ResolveComponentCandidates). The device sends the requirements: the version in the
deployment, and the requirements in the recipes of dependents. A running version is kept while it meets them, so a
deployment does not upgrade other components.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Mapping
from typing import Protocol

from emflow_emulator.architecture import ARCHITECTURES
from emflow_emulator.core import recipe as recipes
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.nuclei import CLASSIC, NucleusModel
from emflow_emulator.core.recipe import Recipe

_ROUNDS = 1000
"""Maximum number of requests; after these, the requirements count as circular."""


class Catalogue(Protocol):
    def candidate(
        self, name: str, requirements: Mapping[str, str], platform: Mapping[str, str], version: str | None
    ) -> bytes | None:
        """The recipe of a version that meets all requirements; of exactly `version` if it is given.

        None when there is no such version.
        """


def resolve(
    roots: Mapping[str, Mapping[str, str]],
    active: Mapping[str, str],
    platform: Mapping[str, str],
    catalogue: Catalogue,
    nucleus: NucleusModel = CLASSIC,
    met: Collection[str] = (),
) -> dict[str, Recipe]:
    """All component versions to run, by name.

    Args:
        roots: the components in deployments: component → source of the requirement → version requirement.
        active: the running versions.
        met: dependencies that the nucleus meets by itself.

    Raises:
        DeploymentFailure: no version of a component meets the requirements and is for this platform.
    """
    requirements: dict[str, dict[str, str]] = defaultdict(dict, {name: dict(who) for name, who in roots.items()})
    resolved: dict[str, Recipe] = {}
    waiting = deque(roots)
    for _ in range(_ROUNDS):
        if not waiting:
            return _reachable(roots, resolved)
        name = waiting.popleft()
        recipe = _choose(name, requirements[name], active.get(name), platform, catalogue, nucleus)
        before = resolved.get(name)
        if before and before.version == recipe.version:
            continue
        for dependency in before.dependencies if before else ():
            requirements[dependency].pop(name, None)
        resolved[name] = recipe
        for dependency, wanted in recipe.dependencies.items():
            if dependency in met:
                continue
            requirements[dependency][name] = wanted.requirement
            waiting.append(dependency)
    raise DeploymentFailure(
        "The version requirements of the components contradict each other", "COMPONENT_VERSION_REQUIREMENTS_NOT_MET"
    )


def _choose(
    name: str,
    requirements: Mapping[str, str],
    active: str | None,
    platform: Mapping[str, str],
    catalogue: Catalogue,
    nucleus: NucleusModel,
) -> Recipe:
    for version in (active, None) if active else (None,):
        text = catalogue.candidate(name, requirements, platform, version)
        if text is not None:
            return recipes.parse(text, platform, nucleus)
    wanted = ", ".join(f"{who}={what}" for who, what in requirements.items())
    device = ", ".join(f"{key}={value}" for key, value in platform.items())
    raise DeploymentFailure(
        "No local or cloud component version satisfies the requirements. Check whether the version constraints "
        "conflict and that the component exists in your AWS account with a version that matches the version "
        f"constraints and this device's platform ({device}). {{componentName={name}, versionRequirement={{{wanted}}}}}"
        + _hint(name, requirements, platform, catalogue),
        "NO_AVAILABLE_COMPONENT_VERSION",
        "COMPONENT_VERSION_REQUIREMENTS_NOT_MET",
    )


def _hint(name: str, requirements: Mapping[str, str], platform: Mapping[str, str], catalogue: Catalogue) -> str:
    """How to get a version that there is for another architecture; empty when there is none."""
    for other in ARCHITECTURES:
        if catalogue.candidate(name, requirements, {**platform, "architecture": other}, None) is not None:
            return f". There is a version for {other}: with --architecture {other}, this virtual device uses it"
    return ""


def _reachable(roots: Mapping[str, Mapping[str, str]], resolved: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Without the dependencies of versions that were replaced during the resolution."""
    result: dict[str, Recipe] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in result:
            result[name] = resolved[name]
            waiting.extend(resolved[name].dependencies.keys() & resolved.keys())
    return result
