"""What is wrong with a recipe, each thing with its place in it; and a recipe read so that places are known."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from emflow.workflow.source.positions import KeyPath, format_path

LARGEST = 1_000_000
"""Characters of a recipe; Greengrass takes far fewer."""


@dataclass(frozen=True)
class Fault:
    """One mistake. `line` counts from 1 in the recipe's text; 0 where there is none."""

    place: KeyPath
    message: str
    mend: str = ""
    line: int = 0

    @property
    def about(self) -> str:
        """Its place in words."""
        return format_path(self.place) if self.place else "recipe"

    def __str__(self) -> str:
        where = f"{self.about}{f' (line {self.line})' if self.line else ''}"
        return f"{where}: {self.message}" + (f"; {self.mend}" if self.mend else "")


@dataclass(frozen=True)
class Reading:
    """A recipe's text as plain values, with the line of each (keys in lower case). `faults`: why it was not read."""

    value: Any
    lines: Mapping[KeyPath, int]
    faults: tuple[Fault, ...] = ()

    def line(self, place: KeyPath) -> int:
        """The line of a place, or of what would hold it."""
        place = _folded(place)
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 0)


def read(text: str) -> Reading:
    """Read a recipe in YAML or JSON."""
    if len(text) > LARGEST:
        return Reading(None, {}, (Fault((), f"has {len(text)} characters", "is this a recipe?"),))
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        return Reading(None, {}, (Fault((), f"is no YAML: {what}", line=mark.line + 1 if mark else 0),))
    except RecursionError:
        return Reading(None, {}, (Fault((), "is nested too deeply"),))
    lines: dict[KeyPath, int] = {}
    return Reading(value, lines, tuple(_walk(root, (), lines, set())))


def _walk(node: yaml.Node | None, place: KeyPath, lines: dict[KeyPath, int], seen: set[int]) -> Iterator[Fault]:
    """Note the line of everything; a key that is there twice would silently lose one of its values."""
    if node is None:
        return
    lines.setdefault(_folded(place), node.start_mark.line + 1)
    if id(node) in seen:  # an alias: its content stands, and is told, where its anchor is
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            here = (*place, name)
            if name in keys:
                yield Fault(here, "is here twice", "keep one", key.start_mark.line + 1)
            keys.add(name)
            lines[_folded(here)] = key.start_mark.line + 1
            yield from _walk(value, here, lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*place, index), lines, seen)


def _folded(place: KeyPath) -> KeyPath:
    """A place as it is looked up: a key that is spelt in another case is still that key."""
    return tuple(step.lower() if isinstance(step, str) else step for step in place)


def close(name: str, known: Collection[str]) -> str:
    """The known name that was probably meant, or nothing."""
    return next(iter(difflib.get_close_matches(name, known, 1, 0.6)), "")


def spelt(found: Mapping[Any, Any], known: Collection[str]) -> dict[str, Any]:
    """The same map with known keys as they are documented, however they are written."""
    right = {key.lower(): key for key in known}
    return {right.get(str(key).lower(), str(key)): value for key, value in found.items()}


def keys(found: Mapping[Any, Any], known: Collection[str], place: KeyPath) -> Iterator[Fault]:
    """Keys that are unknown, or spelt in another case than the documented one."""
    right = {key.lower(): key for key in known}
    for key in map(str, found):
        if key in known:
            continue
        if key.lower() in right:
            mend = f"write {right[key.lower()]}: the lite nucleus takes keys in no other case"
            yield Fault((*place, key), "is spelt otherwise", mend)
            continue
        near = close(key.lower(), right)
        mend = f"did you mean {right[near]}?" if near else f"known here: {', '.join(known)}"
        yield Fault((*place, key), "is an unknown key", mend)
