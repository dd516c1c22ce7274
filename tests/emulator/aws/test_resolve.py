"""ResolveComponentCandidates: what a core device asks for each component of its deployment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

LINUX = {"attributes": {"os": "linux", "architecture": "amd64"}}


def resolve(greengrass: Any, name: str, platform: dict[str, Any] = LINUX, **requirements: str) -> str:
    answer = greengrass.resolve_component_candidates(
        platform=platform,
        componentCandidates=[{"componentName": name, "versionRequirements": requirements}],
    )
    (resolved,) = answer["resolvedComponentVersions"]
    assert json.loads(resolved["recipe"])["ComponentVersion"] == resolved["componentVersion"]
    return str(resolved["componentVersion"])


def test_the_newest_that_fits_every_requirement(greengrass: Any, component: Callable[..., Any]) -> None:
    _, name = component()
    for version in ("1.2.0", "1.10.0", "2.0.0"):
        component(name, version)
    assert resolve(greengrass, name) == "2.0.0"
    assert resolve(greengrass, name, A="^1.0.0") == "1.10.0"
    assert resolve(greengrass, name, A="^1.0.0", B="<1.10.0") == "1.2.0"
    assert resolve(greengrass, name, A="==1.0.0") == "1.0.0"


def test_requirements_that_nothing_fits_are_named(greengrass: Any, component: Callable[..., Any]) -> None:
    _, name = component()
    words = r"A requires >=2\.0\.0, B requires <1\.5\.0"
    with pytest.raises(greengrass.exceptions.ResourceNotFoundException, match=words):
        resolve(greengrass, name, A=">=2.0.0", B="<1.5.0")


def test_the_platform_has_to_fit(greengrass: Any, component: Callable[..., Any]) -> None:
    manifests = [
        {"Platform": {"os": "/linux|darwin/", "architecture": "aarch64", "runtime": "*"}, "Lifecycle": {"run": "x"}},
        {"Platform": {"os": "windows"}, "Lifecycle": {"run": "x"}},
    ]
    _, name = component(Manifests=manifests)
    with pytest.raises(greengrass.exceptions.ResourceNotFoundException, match="No version of component"):
        resolve(greengrass, name)
    assert resolve(greengrass, name, {"attributes": {"os": "linux", "architecture": "aarch64"}}) == "1.0.0"
    assert resolve(greengrass, name, {"attributes": {"os": "windows", "architecture": "amd64"}}) == "1.0.0"


def test_the_recipe_carries_the_digests(
    greengrass: Any, component: Callable[..., Any], store: Callable[..., str]
) -> None:
    artifact = {"URI": store(b"abc", "a.txt"), "Permission": {"Read": "OWNER"}}
    manifest = {"Platform": {"os": "linux"}, "Lifecycle": {"run": "true"}, "Artifacts": [artifact]}
    _, name = component(Manifests=[manifest])
    answer = greengrass.resolve_component_candidates(platform=LINUX, componentCandidates=[{"componentName": name}])
    (resolved,) = json.loads(answer["resolvedComponentVersions"][0]["recipe"])["Manifests"][0]["Artifacts"]
    assert resolved["Digest"] == "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
    assert resolved["Algorithm"] == "SHA-256"


def test_aws_components_are_found_too(greengrass: Any) -> None:
    assert resolve(greengrass, "aws.greengrass.Nucleus", thing="=2.12.6") == "2.12.6"
    assert resolve(greengrass, "aws.greengrass.SageMakerEdgeManager", A=">=1.0.0").startswith("1.")
