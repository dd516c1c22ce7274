"""Every value of a typed workflow with its place and what is known of its key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from emflow.workflow.partial import Unknown
from emflow.workflow.source.positions import KeyPath
from emflow_schema.key import Key, fields


def walk(section: Any, place: KeyPath = ()) -> Iterator[tuple[KeyPath, Any, Key]]:
    """The values of a section and of those in it, in the order of their keys; lists of other values count as one.

    Values that are `Unknown` are left out.

    Args:
        section: a dataclass whose fields have a `Key`.
        place: where it stands.
    """
    for field in fields(type(section)):
        at = (*place, field.name)
        try:
            value = getattr(section, field.name)
        except Unknown:
            continue
        if is_dataclass(value):
            yield from walk(value, at)
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            for index, item in enumerate(value):
                yield from walk(item, (*at, index))
        else:
            yield at, value, field.shape.key
