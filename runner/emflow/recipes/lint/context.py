"""What a recipe is checked against, besides the format: facts from the workflow and the files beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Target(StrEnum):
    """The nucleus that a recipe is for; `any`: it has to work on both."""

    CLASSIC = "classic"
    LITE = "lite"
    ANY = "any"


@dataclass(frozen=True)
class RecipeContext:
    """What is known about a component from elsewhere than its recipe. What is empty is not checked.

    Args:
        name, version: those that the recipe must have.
        dependencies: component names that the recipe must depend on, with their version requirements.
        configuration: what the deployment merges into the recipe's default configuration.
        archives: the URI of each zip that is uploaded with the component, and the file names in it.
        publishes: topics that the recipe must allow the component to publish to.
        reads: secrets that the recipe must allow the component to read.
        architecture: of the board.
        nucleus: the one on the devices. None: not known, so what only the lite nucleus refuses is a warning.
    """

    name: str = ""
    version: str = ""
    dependencies: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)
    archives: Mapping[str, Collection[str]] = field(default_factory=dict)
    publishes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    architecture: str = ""
    nucleus: Target | None = None


NOTHING = RecipeContext()
