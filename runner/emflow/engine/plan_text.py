"""What would change, in words: a tree by room, with each field's old and new value on a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from os.path import commonprefix
from typing import Any

from emflow.engine.resource import Action, Change, Diff
from emflow.problems import printable
from emflow.workflow.redaction import masked

LONGEST = 72
"""Characters of a value in a plan; longer ones are cut."""

BEFORE = 16
"""Characters that are shown before the first that differs, where two values would be cut before it."""

NAMES = ("Sid", "ID", "Id", "id", "name", "Name")
"""Keys that tell one item of a list from another, in AWS's documents and in ours."""

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
        rooms.setdefault(group_of(step[0]), []).append(step)
    for name, members in rooms.items():
        yield name
        for resource, called, diff in members:
            yield f"  {diff.action.value} {resource:<{width}}  {called}".rstrip()
            yield from (f"      {line}" for line in _changes(diff, details=details))
            yield from (f"      {printable(note)}" for note in diff.notes)


def group_of(resource: str) -> str:
    """The part of an id before the slash."""
    return resource.partition("/")[0]


def _changes(diff: Diff, *, details: bool) -> Iterator[str]:
    match diff.action:
        case Action.UPDATE | Action.REPLACE | Action.REMOVE:
            for change in diff.changes:
                yield from describe(change)
        case Action.CREATE if details:
            # There is no old value to be told beside the new one.
            yield from (
                f"{printable(change.field)}: {_cut(_text(change.new, change.field))}" for change in diff.changes
            )


def describe(change: Change) -> Iterator[str]:
    """A change in lines: `field: old → new`.

    Of mappings only keys that differ. Of lists what comes and goes; items that are mappings are told apart by their
    name (`NAMES`), those without one by their position, and of two with the same only what differs.
    """
    yield from _describe(printable(change.field), change.field, change.old, change.new)


def _describe(field: str, key: str, old: Any, new: Any) -> Iterator[str]:
    """`key`: the nearest one above, which may say that the value is secret."""
    if isinstance(old, dict) and isinstance(new, dict):
        for inner in [*new, *(inner for inner in old if inner not in new)]:
            if old.get(inner) != new.get(inner):
                yield from _describe(f"{field}.{printable(str(inner))}", str(inner), old.get(inner), new.get(inner))
        return
    lines: list[str] = []
    if isinstance(new, list | tuple) and isinstance(old, list | tuple | None):
        lines = list(_of_lists(field, key, old or (), new))
    if lines:
        yield from lines
        return
    before, after = _beside([_text(old, key), _text(new, key)])
    if before == after:
        yield f"{field}: {after} (what differs is not shown)"
    else:
        yield f"{field}: {before} → {after}"


def _of_lists(field: str, key: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[str]:
    gone, come = [item for item in old if item not in new], [item for item in new if item not in old]
    before, after = _by_name(old, gone), _by_name(new, come)
    for name in after:
        if name in before:
            yield from _describe(f"{field}[{printable(str(name))}]", key, before[name], after[name])
            gone.remove(before[name])
            come.remove(after[name])
    told = _beside([_text(item, key) for item in (*come, *gone)])
    yield from (f"{field}: + {text}" for text in told[: len(come)])
    yield from (f"{field}: - {text}" for text in told[len(come) :])


def _by_name(items: Sequence[Any], differing: Sequence[Any]) -> dict[str | int, dict[str, Any]]:
    """The mappings among a list's items that differ, by name, or by position where they have none."""
    found: dict[str | int, dict[str, Any]] = {}
    for index, item in enumerate(items):
        if isinstance(item, dict) and item in differing:
            found.setdefault(next((item[key] for key in NAMES if isinstance(item.get(key), str)), index), item)
    return found


def shown(value: Any) -> str:
    """A value on one line, cut when it is long, without the passwords in it."""
    return _cut(_text(value))


def _text(value: Any, key: str = "") -> str:
    value = masked({key: value})[key]
    if isinstance(value, str):
        return printable(value) or '""'
    return "(none)" if value is None else printable(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _beside(texts: Sequence[str]) -> list[str]:
    """Texts that stand beside each other, cut so that those that differ are not the same: before what differs."""
    alike: dict[str, set[str]] = {}
    for text in texts:
        alike.setdefault(_cut(text), set()).add(text)
    told = []
    for text in texts:
        others = alike[_cut(text)]
        start = max(0, len(commonprefix(list(others))) - BEFORE) if len(others) > 1 else 0  # noqa: RUF071 of characters
        told.append(f"…{_cut(text[start:])}" if start else _cut(text))
    return told
