"""AWS's own components, by name: one YAML file each, with the versions that exist and a recipe for all of them.

The recipes say what a core device has to know (type, dependencies, settings and their defaults, what to run); AWS's
artifacts are not in them. What the nucleus does by itself has no lifecycle; the Edge Manager agent, whose binary is
no longer to be had, is answered by `emflow_agent`, which the device has installed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import yaml

KNOWN_SINCE = datetime(2024, 6, 1, tzinfo=UTC)
"""What the API gives as their creation time; AWS's own release dates are not recorded here."""


def recipes() -> Iterator[tuple[datetime, dict[str, Any]]]:
    """Every public component version: when it was released, and its recipe."""
    for file in sorted(files(__name__).iterdir(), key=lambda each: each.name):
        if not file.name.endswith(".yaml"):
            continue
        entry = yaml.safe_load(file.read_text())
        for version in entry["versions"]:
            document = copy.deepcopy(entry["recipe"])
            head = {"RecipeFormatVersion": "2020-01-25", "ComponentName": file.name.removesuffix(".yaml")}
            yield KNOWN_SINCE, {**head, "ComponentVersion": version, **document}
