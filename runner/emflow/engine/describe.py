"""What would change, in words: a tree by room, with each field's old and new value on a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from emflow.engine.resource import Action, Change, Diff
from emflow.workflow.redaction import masked

LONGEST = 72
"""Characters of a value in a plan; longer ones are cut."""

WORDS = {
    Action.NONE: "none",
    Action.CREATE: "create",
    Action.UPDATE: "update",
    Action.REPLACE: "replace",
    Action.REMOVE: "remove",
}
"""An action in JSON."""


def tree(steps: Iterable[tuple[str, str, Diff]], *, details: bool = False) -> Iterator[str]:
    """Lines for steps (id, name, difference), those of a room together; nothing for what stays as it is."""
    shown_steps = [step for step in steps if step[2].action is not Action.NONE or step[2].notes]
    width = max((len(name) for name, _, _ in shown_steps), default=0)
    rooms: dict[str, list[tuple[str, str, Diff]]] = {}
    for step in shown_steps:
        rooms.setdefault(room(step[0]), []).append(step)
    for name, members in rooms.items():
        yield name
        for resource, called, diff in members:
            yield f"  {diff.action.value} {resource:<{width}}  {called}".rstrip()
            yield from (f"      {line}" for line in _changes(diff, details=details))
            yield from (f"      {note}" for note in diff.notes)


def room(resource: str) -> str:
    """The part of an id before the slash."""
    return resource.partition("/")[0]


def _changes(diff: Diff, *, details: bool) -> Iterator[str]:
    match diff.action:
        case Action.UPDATE | Action.REPLACE | Action.REMOVE:
            for change in diff.changes:
                yield from describe(change)
        case Action.CREATE if details:
            # There is no old value to be told beside the new one.
            yield from (f"{change.field}: {shown(change.new)}" for change in diff.changes)


def describe(change: Change) -> Iterator[str]:
    """A change in lines: `field: old → new`; of lists only what comes and goes, of mappings only keys that differ."""
    old, new = change.old, change.new
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(key for key in old if key not in new)]:
            if old.get(key) != new.get(key):
                yield from describe(Change(f"{change.field}.{key}", old.get(key), new.get(key)))
        return
    if isinstance(new, list | tuple) and isinstance(old, list | tuple | None):
        for item in new:
            if item not in (old or ()):
                yield f"{change.field}: + {shown(item)}"
        for item in old or ():
            if item not in new:
                yield f"{change.field}: - {shown(item)}"
        return
    yield f"{change.field}: {shown(old)} → {shown(new)}"


def shown(value: Any) -> str:
    """A value on one line, cut when it is long, without the passwords in it."""
    value = masked(value)
    text = value if isinstance(value, str) else "(none)" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
