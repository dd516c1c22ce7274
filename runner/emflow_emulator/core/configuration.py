"""The configuration of components: defaults from the recipe, and updates by deployments.

Each component has two layers. `defaults` come from its recipes, `updates` from deployments and from the component
itself. An update stays until it is reset: deployments without this value and new recipe versions do not change it. New
defaults of a recipe version apply to all values without an update.

Of two updates of a value, the one with the later timestamp counts, whichever comes first. The timestamp of a deployment
is that of its creation: a component's own update after that stays, also when the deployment is carried out later, or
once more. A component's update with an earlier timestamp than the value has is refused. What was accepted is not lost
when a deployment is rolled back either.
"""

from __future__ import annotations

import contextlib
import copy
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emflow.json_text import from_json, to_json

Tree = dict[str, Any]


@dataclass(frozen=True)
class Update:
    """A deployment's configurationUpdate: JSON pointers to reset (`""` is everything), then values to merge."""

    reset: Sequence[str] = ()
    merge: Mapping[str, Any] = field(default_factory=dict)


class Stale(Exception):
    """An update is older than the value that it would replace."""


@dataclass(frozen=True)
class Configuration:
    """One component's configuration. Never changed in place.

    `times` says when a value was set, in seconds since 1970, by the JSON text of its key path.
    """

    defaults: Tree = field(default_factory=dict)
    updates: Tree = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)

    @property
    def values(self) -> Tree:
        """The configuration that the component gets: defaults with the updates merged in."""
        return merged(self.defaults, self.updates)

    def deployed(
        self, defaults: Mapping[str, Any], update: Update, timestamp: float | None = None, *, floats: bool = True
    ) -> Configuration:
        """The configuration after a deployment: reset, then the recipe's defaults, then the merge.

        Args:
            timestamp: when the deployment was created; updates that are newer stay. None: now.
            floats: all numbers become floats, as in the classic nucleus.
        """
        number = with_floats if floats else copy.deepcopy
        timestamp = time.time() if timestamp is None else timestamp
        old_defaults, old_updates = self.defaults, self.updates
        for pointer in update.reset:
            keys = pointer_keys(pointer)
            old_defaults, old_updates = without(old_defaults, keys), without(old_updates, keys)
        updates = merged(old_updates, number(update.merge))
        for path in self._updated_after(timestamp):
            updates = merged(updates, _tree(path, find(self.updates, path)))
        after = Configuration(merged(old_defaults, number(defaults)), updates, self.times)
        confirmed = [path for path in leaves(update.merge) if self.times.get(_time_key(path), 0.0) <= timestamp]
        return after._set_since(self, timestamp, confirmed)

    def _updated_after(self, timestamp: float) -> list[list[str]]:
        return [path for path in leaves(self.updates) if self.times.get(_time_key(path), 0.0) > timestamp]

    def updated(
        self, keys: Sequence[str], values: Mapping[str, Any], timestamp: float, *, floats: bool = True
    ) -> Configuration:
        """The configuration after the component itself has merged values into the map at `keys`.

        Raises:
            Stale: `timestamp` is older than one of the values that would be replaced.
            ValueError: the value at `keys` is not a map.
        """
        update = _tree(keys, with_floats(values) if floats else values)
        for path in _values_that_are_not_maps(self.values, keys):
            raise ValueError(f"{'/'.join(path)} is not a container")
        after = replace(self, updates=merged(self.updates, update))
        touched = [*changes(self.values, after.values), *leaves(update)]
        if any(self.times.get(_time_key(path), 0.0) > timestamp for path in touched):
            raise Stale("Proposed timestamp is older than the config's latest modified timestamp")
        return after._set_since(self, timestamp, touched)

    def _set_since(self, before: Configuration, timestamp: float, confirmed: Iterable[Sequence[str]]) -> Configuration:
        """With the time of all values that are different, and of those that were set to what they were."""
        times = dict(self.times)
        for path in (*changes(before.values, self.values), *confirmed):
            times[_time_key(path)] = timestamp
        return replace(self, times=times)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[list[str]]:
    """Key paths of the differences: of every value that was set, and of the topmost key of what was removed."""
    for key in [*old, *(key for key in new if key not in old)]:
        if key not in new:
            yield [key]
            continue
        before, after = old.get(key), new[key]
        if isinstance(after, Mapping) and (key not in old or isinstance(before, Mapping)):
            yield from ([key, *rest] for rest in changes(before or {}, after))
        elif key not in old or to_json(before, sort_keys=True) != to_json(after, sort_keys=True):
            # Compared as JSON, because in Python True and 1.0 are equal.
            yield [key]


def leaves(tree: Mapping[str, Any]) -> Iterator[list[str]]:
    """Key paths of all values that are not maps."""
    return changes({}, tree)


def _tree(path: Sequence[str], value: Any) -> Tree:
    """The value at this key path in a tree of its own."""
    for key in reversed(path):
        value = {key: value}
    tree: Tree = value
    return tree


def _values_that_are_not_maps(tree: Any, keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """The first prefix of `keys` whose value exists and is not a map; nothing if there is none."""
    for at in range(len(keys) + 1):
        try:
            found = find(tree, keys[:at])
        except KeyError:
            return
        if not isinstance(found, Mapping):
            yield keys[:at]
            return


def _time_key(path: Sequence[str]) -> str:
    return to_json(list(path))


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Merge maps key by key; any other value in `over`, also a list, replaces the value in `under`."""
    result = {key: copy.deepcopy(value) for key, value in under.items()}
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, Mapping)
        result[key] = merged(below, value) if both and below is not None else copy.deepcopy(value)
    return result


def with_floats(value: Any) -> Any:
    """The value with all numbers as floats, as a core device returns them: for the text `1`, configure `"1"`."""
    if isinstance(value, Mapping):
        return {key: with_floats(each) for key, each in value.items()}
    if isinstance(value, list):
        return [with_floats(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def without(tree: Mapping[str, Any], keys: Sequence[str]) -> Tree:
    """The tree without the value at `keys`; without keys, an empty tree. An element of a list cannot be reset."""
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
    """The keys of a JSON pointer (RFC 6901): those of `/a~1b/c` are `a/b` and `c`."""
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]


def find(tree: Any, keys: Iterable[str]) -> Any:
    """The value at `keys`; a number is an index of a list.

    Raises:
        KeyError: there is no such value.
    """
    for key in keys:
        if isinstance(tree, Mapping) and key in tree:
            tree = tree[key]
        elif isinstance(tree, list) and re.fullmatch("[0-9]{1,9}", key) and int(key) < len(tree):
            tree = tree[int(key)]
        else:
            raise KeyError(key)
    return tree


@dataclass(frozen=True)
class _Accepted:
    """A component's update of its own configuration."""

    component: str
    keys: Sequence[str]
    values: Mapping[str, Any]
    timestamp: float


class ConfigurationStore:
    """The configuration of every component of the device, stored in a file, so that it survives restarts.

    Args:
        changed: called with a component's name, its old and its new values when they differ; not called for new and
            removed components.
        floats: all numbers that components set become floats, as in the classic nucleus.
    """

    def __init__(
        self, path: Path, changed: Callable[[str, Tree, Tree], object] = lambda *_: None, *, floats: bool = True
    ) -> None:
        self._path = path
        self._changed = changed
        self._floats = floats
        self._lock = threading.Lock()
        self._components: dict[str, Configuration] = {}
        self._accepted: list[_Accepted] = []
        """The components' own updates since the deployment that is being activated, oldest first."""
        self._activating = False
        if path.exists():
            saved = from_json(path.read_text())
            self._components = {name: Configuration(**layers) for name, layers in saved.items()}

    def get(self, component: str) -> Configuration | None:
        with self._lock:
            return self._components.get(component)

    def all(self) -> dict[str, Configuration]:
        with self._lock:
            return dict(self._components)

    def replace(self, components: Mapping[str, Configuration]) -> None:
        """Replace the configurations of all components.

        Raises:
            OSError: they cannot be stored; then nothing is changed.
        """
        self.deploy(lambda _: components)
        self.keep()

    def deploy(
        self, make: Callable[[Mapping[str, Configuration]], Mapping[str, Configuration]]
    ) -> dict[str, Configuration]:
        """Replace the configurations of all components by those that `make` makes from them; returns the previous ones.

        Nothing changes in between, so `make` sees every update that a component was able to make. From now on, the
        updates of components are remembered for `restore`, until that or `keep` is called.

        Raises:
            OSError: they cannot be stored; then nothing is changed.
        """
        with self._lock:
            components = make(self._components)
            before = self._keep(components)
            self._accepted.clear()
            self._activating = True
        self._notify(before, components)
        return before

    def keep(self) -> None:
        """The deployment is over, and its configurations stay."""
        with self._lock:
            self._activating = False
            self._accepted.clear()

    def restore(self, before: Mapping[str, Configuration]) -> None:
        """Return to the configurations from before a deployment, with what components themselves have updated since.

        Raises:
            OSError: they cannot be stored; then nothing is changed.
        """

        def make(_: Mapping[str, Configuration]) -> Mapping[str, Configuration]:
            restored = dict(before)
            for each in self._accepted:
                # One that is older than what the deployment replaced, or for another structure, has no place there.
                with contextlib.suppress(KeyError, Stale, ValueError):
                    restored[each.component] = restored[each.component].updated(
                        each.keys, each.values, each.timestamp, floats=self._floats
                    )
            return restored

        self.deploy(make)
        self.keep()

    def update(self, component: str, keys: Sequence[str], values: Mapping[str, Any], timestamp: float) -> None:
        """A component merges values into its own configuration.

        Raises:
            LookupError: there is no such component.
            OSError: it cannot be stored; then nothing is changed.
            Stale, ValueError: as in `Configuration.updated`.
        """
        with self._lock:
            updated = self._components[component].updated(keys, values, timestamp, floats=self._floats)
            fresh = {component: updated}
            before = self._keep(self._components | fresh)
            if self._activating:
                self._accepted.append(_Accepted(component, keys, values, timestamp))
        self._notify(before, fresh)

    def _keep(self, components: Mapping[str, Configuration]) -> dict[str, Configuration]:
        """Store the configurations; returns the previous ones."""
        saved = {
            name: {"defaults": each.defaults, "updates": each.updates, "times": each.times}
            for name, each in components.items()
        }
        fresh = self._path.with_suffix(".new")
        # Only its owner may read it, because deployments may contain passwords.
        fresh.unlink(missing_ok=True)
        fresh.touch(0o600, exist_ok=False)
        fresh.write_text(to_json(saved))
        fresh.replace(self._path)
        before, self._components = self._components, dict(components)
        return before

    def _notify(self, before: Mapping[str, Configuration], now: Mapping[str, Configuration]) -> None:
        for name, configuration in now.items():
            if name in before and before[name] is not configuration:
                self._changed(name, before[name].values, configuration.values)
