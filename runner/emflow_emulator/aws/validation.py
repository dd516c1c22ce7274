"""Parameters against a service model: required members, types, enums, lengths, ranges, patterns.

botocore checks only the first three in the client; the service checks all. The messages have AWS's wording, so that
they look the same here and in AWS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

# The models' patterns are Java's, and Python has no \p: these are similar classes, used only within brackets.
_JAVA_CLASSES = {r"\p{L}": r"\w", r"\p{N}": r"\d", r"\p{Z}": r"\s"}

_TYPES: dict[str, type | tuple[type, ...]] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "boolean": bool,
    "blob": bytes,
    "timestamp": datetime,
}


@dataclass(frozen=True)
class Violation:
    """One parameter that breaks one rule of the model. `path` is dotted, with list positions from 1."""

    path: str
    value: Any
    rule: str

    def __str__(self) -> str:
        shown = "Value null" if self.value is None else f"Value '{self.value}'"
        return f"{shown} at '{self.path}' failed to satisfy constraint: {self.rule}"


def violations(value: Any, shape: Shape, path: str = "") -> Iterator[Violation]:
    """All rules of the model that `value` breaks."""
    kind = _TYPES.get(shape.type_name)
    if kind and (not isinstance(value, kind) or (kind is not bool and isinstance(value, bool))):
        yield Violation(path, value, f"Member must be of type {shape.type_name}")
        return
    yield from _limits(value, shape, path)
    if isinstance(shape, StructureShape):
        for name in shape.required_members:
            if value.get(name) is None:
                yield Violation(_join(path, name), None, "Member must not be null")
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield from violations(value[name], member, _join(path, name))
    elif isinstance(shape, ListShape):
        for number, item in enumerate(value, 1):
            yield from violations(item, shape.member, f"{path}.{number}.member")
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from violations(key, shape.key, f"{path}.{key}")
            yield from violations(item, shape.value, f"{path}.{key}")


def describe(broken: list[Violation]) -> str:
    """One message for all of them, as AWS words it."""
    head = f"{len(broken)} validation error{'s' if len(broken) > 1 else ''} detected: "
    return head + "; ".join(map(str, broken))


def _limits(value: Any, shape: Shape, path: str) -> Iterator[Violation]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    size: float
    if shape.type_name in ("string", "list", "map", "blob"):
        size, what = len(value), "have length"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        size, what = value, "have value"
    else:
        return
    if low is not None and size < low:
        yield Violation(path, value, f"Member must {what} greater than or equal to {low}")
    if high is not None and size > high:
        yield Violation(path, value, f"Member must {what} less than or equal to {high}")
    if isinstance(shape, StringShape) and shape.enum and value not in shape.enum:
        yield Violation(path, value, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield Violation(path, value, f"Member must satisfy regular expression pattern: {pattern}")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for java, python in _JAVA_CLASSES.items():
        pattern = pattern.replace(java, python)
    return re.compile(pattern)


def _join(path: str, name: str) -> str:
    # AWS writes the members' names in lower camel case, whatever the model says.
    lower = name[:1].lower() + name[1:]
    return f"{path}.{lower}" if path else lower
