"""Keys of a recipe in any case, and values of a kind.

The classic nucleus and the cloud accept keys in any case; the lite nucleus accepts only one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from emflow.recipes.reader.finding import RecipeFinding
from emflow.workflow.source.positions import KeyPath

TOP = (
    "RecipeFormatVersion",
    "ComponentName",
    "ComponentVersion",
    "ComponentDescription",
    "ComponentPublisher",
    "ComponentType",
    "ComponentSource",
    "ComponentConfiguration",
    "ComponentDependencies",
    "Manifests",
    "Lifecycle",
)
CONFIGURATION = ("DefaultConfiguration",)
DEPENDENCY = ("VersionRequirement", "DependencyType")
MANIFEST = ("Name", "Platform", "Lifecycle", "Selections", "Artifacts")
PLATFORM = ("os", "architecture", "architecture.detail", "runtime", "nucleus")
ARTIFACT = ("Uri", "Unarchive", "Permission", "Digest", "Algorithm")
"""`Uri`: so the cloud returns it, and the lite nucleus reads it; AWS's documentation writes `URI`."""
PERMISSION = ("Read", "Execute")
STEPS = ("bootstrap", "install", "startup", "run", "shutdown", "recover", "uninstall")
LIFECYCLE = (*STEPS, "Setenv")
STEP = ("Script", "RequiresPrivilege", "Setenv", "Timeout", "Skipif", "BootstrapOnRollback")


def documented_keys(found: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The same map, with known keys in the case in which they are in `known`."""
    right = {key.lower(): key for key in known}
    return {right.get(key.lower(), key): value for key, value in found.items()}


def repeated_keys(found: Mapping[str, Any], known: Collection[str], place: KeyPath) -> Iterator[RecipeFinding]:
    """Known keys that are there in two cases, of which only one has an effect."""
    right = {key.lower() for key in known}
    seen: dict[str, str] = {}
    for key in found:
        folded = key.lower()
        if folded in right and folded in seen:
            yield RecipeFinding((*place, key), f"is here twice, as {seen[folded]} too", "keep one of them")
        seen.setdefault(folded, key)


def map_of(found: Any, key: str) -> dict[str, Any]:
    """The map under a key; empty where there is none."""
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, dict) else {}


def list_of(found: Any, key: str) -> list[Any]:
    """The list under a key; empty where there is none."""
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, list) else []
