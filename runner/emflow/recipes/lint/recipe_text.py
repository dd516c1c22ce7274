"""A recipe's text as plain values, with the line of each key and item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from emflow.recipes.lint.finding import RecipeFinding
from emflow.workflow.source.positions import KeyPath

MAX_CHARACTERS = 1_000_000
"""Characters in a recipe at most; Greengrass accepts far fewer."""

# libyaml's parser, where PyYAML was built with it: the built-in recipe takes PyYAML's own parser 10 ms.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class ParsedRecipe:
    """A recipe's text as plain values, with the line of each.

    Args:
        value: None where the text cannot be read.
        lines: by position, keys in lower case.
        findings: why the text could not be read, or keys that occur twice.
    """

    value: Any
    lines: Mapping[KeyPath, int]
    findings: tuple[RecipeFinding, ...] = ()

    def line(self, place: KeyPath) -> int:
        """The line of a position; of its parent, where the recipe does not have it."""
        place = _folded(place)
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 0)


def read(text: str) -> ParsedRecipe:
    """Read a recipe in YAML or JSON."""
    if len(text) > MAX_CHARACTERS:
        return ParsedRecipe(None, {}, (RecipeFinding((), f"has {len(text)} characters", "is this a recipe?"),))
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        value = None if root is None else loader.construct_document(root)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        return ParsedRecipe(None, {}, (RecipeFinding((), f"is no YAML: {what}", line=mark.line + 1 if mark else 0),))
    except RecursionError:
        return ParsedRecipe(None, {}, (RecipeFinding((), "is nested too deeply"),))
    lines: dict[KeyPath, int] = {}
    return ParsedRecipe(value, lines, tuple(_walk(root, (), lines, set())))


def _walk(node: yaml.Node | None, place: KeyPath, lines: dict[KeyPath, int], seen: set[int]) -> Iterator[RecipeFinding]:
    """Store the line of each key and item. Where a key occurs twice, YAML would drop one value silently."""
    if node is None:
        return
    lines.setdefault(_folded(place), node.start_mark.line + 1)
    if id(node) in seen:  # an alias: its content is reported at its anchor
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            here = (*place, name)
            if name in keys:
                yield RecipeFinding(here, "is here twice", "keep one of them", key.start_mark.line + 1)
            keys.add(name)
            lines[_folded(here)] = key.start_mark.line + 1
            yield from _walk(value, here, lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*place, index), lines, seen)


def _folded(place: KeyPath) -> KeyPath:
    """A position with its keys in lower case: a key in another case is still the same key."""
    return tuple(step.lower() if isinstance(step, str) else step for step in place)
