"""Which versions a deployment comes to, against the embedded cloud's own idea of version requirements."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from emflow.versions import satisfies, sort_key
from emflow_emulator.core.failure import DeploymentFailure
from emflow_emulator.core.resolve import resolve
from emulator.core.pieces import LINUX, recipe


class Shelf:
    """Component versions, newest first."""

    def __init__(self) -> None:
        self.recipes: dict[str, dict[str, bytes]] = {}
        self.asked = 0

    def put(self, name: str, version: str, **dependencies: str) -> Shelf:
        text = json.dumps(recipe(name, version, dependencies=dependencies)).encode()
        self.recipes.setdefault(name, {})[version] = text
        return self

    def candidate(
        self, name: str, requirements: Mapping[str, str], platform: Mapping[str, str], version: str | None
    ) -> bytes | None:
        self.asked += 1
        versions = self.recipes.get(name, {})
        for each in sorted(versions, key=sort_key, reverse=True):
            if version in (None, each) and all(satisfies(each, wanted) for wanted in requirements.values()):
                return versions[each]
        return None


def versions(shelf: Shelf, roots: dict[str, str], active: dict[str, str] | None = None) -> dict[str, str]:
    wanted = {name: {"thing/board": f"=={version}"} for name, version in roots.items()}
    return {name: found.version for name, found in resolve(wanted, active or {}, LINUX, shelf).items()}


def test_dependencies_of_dependencies_come_along() -> None:
    shelf = Shelf().put("app", "1.0.0", model=">=1.0.0").put("model", "1.1.0", base="~2.0.0")
    shelf.put("base", "2.0.5").put("base", "2.1.0")

    assert versions(shelf, {"app": "1.0.0"}) == {"app": "1.0.0", "model": "1.1.0", "base": "2.0.5"}


def test_all_who_ask_have_to_agree() -> None:
    shelf = Shelf().put("a", "1.0.0", c=">=1.0.0").put("b", "1.0.0", c="<2.0.0").put("c", "1.5.0").put("c", "2.0.0")

    assert versions(shelf, {"a": "1.0.0", "b": "1.0.0"})["c"] == "1.5.0"


def test_a_dependency_that_only_a_given_up_version_had_is_not_taken() -> None:
    shelf = Shelf().put("a", "1.0.0", c=">=1.0.0").put("b", "1.0.0", c="<2.0.0")
    shelf.put("c", "2.0.0", extra=">=1.0.0").put("c", "1.0.0").put("extra", "1.0.0")

    assert versions(shelf, {"a": "1.0.0", "b": "1.0.0"}) == {"a": "1.0.0", "b": "1.0.0", "c": "1.0.0"}


def test_what_runs_is_kept_while_it_fits() -> None:
    shelf = Shelf().put("app", "1.0.0", model=">=1.0.0").put("app", "2.0.0", model=">=1.1.0")
    shelf.put("model", "1.0.0").put("model", "1.1.0").put("model", "1.2.0")

    assert versions(shelf, {"app": "1.0.0"}, {"model": "1.0.0"})["model"] == "1.0.0"
    assert versions(shelf, {"app": "2.0.0"}, {"app": "1.0.0", "model": "1.0.0"})["model"] == "1.2.0"


def test_requirements_that_nothing_fits_are_a_failure_with_all_of_them() -> None:
    shelf = Shelf().put("a", "1.0.0", c=">=2.0.0").put("b", "1.0.0", c="<2.0.0").put("c", "1.0.0").put("c", "2.0.0")

    with pytest.raises(DeploymentFailure, match=r"componentName=c.*a=>=2.0.0.*b=<2.0.0") as caught:
        versions(shelf, {"a": "1.0.0", "b": "1.0.0"})
    assert caught.value.stack == [
        "DEPLOYMENT_FAILURE",
        "NO_AVAILABLE_COMPONENT_VERSION",
        "COMPONENT_VERSION_REQUIREMENTS_NOT_MET",
    ]
    assert caught.value.types == ["REQUEST_ERROR"]


def test_components_may_depend_on_each_other_without_end() -> None:
    shelf = Shelf().put("a", "1.0.0", b=">=1.0.0").put("b", "1.0.0", a=">=1.0.0")

    assert versions(shelf, {"a": "1.0.0"}) == {"a": "1.0.0", "b": "1.0.0"}  # the order of starting refuses it
