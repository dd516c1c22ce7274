"""What components are configured with: defaults from the recipe, and what deployments changed since.

Two layers a component. `defaults` come from the recipes it had, `updates` from deployments (and from the component
itself); an update stands whatever later recipes say, until it is reset. So a redeploy that says nothing keeps it, and a
new recipe version's defaults reach what nobody changed.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Tree = dict[str, Any]


@dataclass(frozen=True)
class Update:
    """A deployment's configurationUpdate: JSON pointers to reset (`""` is everything), then values to merge."""

    reset: Sequence[str] = ()
    merge: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Configuration:
    """One component's configuration. Never changed in place."""

    defaults: Tree = field(default_factory=dict)
    updates: Tree = field(default_factory=dict)

    @property
    def values(self) -> Tree:
        """What the component sees."""
        return merged(self.defaults, self.updates)

    def deployed(self, defaults: Mapping[str, Any], update: Update) -> Configuration:
        """The configuration after a deployment: reset, then the recipe's defaults, then the merge."""
        old_defaults, old_updates = self.defaults, self.updates
        for pointer in update.reset:
            keys = pointer_keys(pointer)
            old_defaults, old_updates = without(old_defaults, keys), without(old_updates, keys)
        return Configuration(
            merged(old_defaults, with_floats(defaults)), merged(old_updates, with_floats(update.merge))
        )


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Maps merge key by key; anything else in `over`, lists too, replaces what is `under`."""
    result = {key: copy.deepcopy(value) for key, value in under.items()}
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, Mapping)
        result[key] = merged(below, value) if both and below is not None else copy.deepcopy(value)
    return result


def with_floats(value: Any) -> Any:
    """Every number a float, as a core device hands them out: a component that needs `1` has to be told `"1"`."""
    if isinstance(value, Mapping):
        return {key: with_floats(each) for key, each in value.items()}
    if isinstance(value, list):
        return [with_floats(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def without(tree: Mapping[str, Any], keys: Sequence[str]) -> Tree:
    """The tree without what lies at `keys`; no keys take everything. An element of a list cannot be reset."""
    if not keys:
        return {}
    result = dict(tree)
    first, rest = keys[0], keys[1:]
    if not rest:
        result.pop(first, None)
    elif isinstance(result.get(first), Mapping):
        result[first] = without(result[first], rest)
    return result


def pointer_keys(pointer: str) -> list[str]:
    """The keys of a JSON pointer (RFC 6901): `/a~1b/c` are `a/b` and `c`."""
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]


def find(tree: Any, keys: Iterable[str]) -> Any:
    """What lies at `keys`; a number counts in a list.

    Raises:
        KeyError: nothing does.
    """
    for key in keys:
        if isinstance(tree, Mapping) and key in tree:
            tree = tree[key]
        elif isinstance(tree, list) and re.fullmatch("[0-9]{1,9}", key) and int(key) < len(tree):
            tree = tree[int(key)]
        else:
            raise KeyError(key)
    return tree


class ConfigurationStore:
    """The configuration of every component of the device, kept in a file over restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._components: dict[str, Configuration] = {}
        if path.exists():
            saved = json.loads(path.read_text())
            self._components = {name: Configuration(**layers) for name, layers in saved.items()}

    def get(self, component: str) -> Configuration | None:
        with self._lock:
            return self._components.get(component)

    def all(self) -> dict[str, Configuration]:
        with self._lock:
            return dict(self._components)

    def replace(self, components: Mapping[str, Configuration]) -> None:
        """From now on exactly these.

        Raises:
            OSError: they cannot be stored; then it is as before.
        """
        with self._lock:
            saved = {name: {"defaults": each.defaults, "updates": each.updates} for name, each in components.items()}
            fresh = self._path.with_suffix(".new")
            # For its owner only: deployments bring passwords.
            fresh.unlink(missing_ok=True)
            fresh.touch(0o600, exist_ok=False)
            fresh.write_text(json.dumps(saved))
            fresh.replace(self._path)
            self._components = dict(components)
