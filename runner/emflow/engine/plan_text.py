"""A plan as text: a tree of groups and resources, with the old and the new value of each field on a line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from os.path import commonprefix
from typing import Any

from emflow.engine.resource import Action, Change, Diff, KnownAfterApply
from emflow.json_text import to_json
from emflow.problems import printable
from emflow.workflow.redaction import masked, masked_beside

MAX_VALUE = 72
"""Characters of a value in a plan; longer ones are cut."""

MAX_LINES = 40
"""Lines of one text that differ, at most."""

CONTEXT = 16
"""Characters that are shown before the first that differs, where two values would be cut before it."""

NAME_KEYS = ("Sid", "ID", "Id", "id", "name", "Name")
"""Keys that tell one item of a list from another, in AWS's documents and in ours."""


def tree(steps: Iterable[tuple[str, str, Diff]], *, details: bool = False) -> Iterator[str]:
    """Lines for steps (id, name, difference), those of a group together; nothing for what stays as it is.

    Args:
        details: also each field of what would be created.
    """
    changed_or_noted = [step for step in steps if step[2].action is not Action.NONE or step[2].notes]
    width = max((len(resource) for resource, _, _ in changed_or_noted), default=0)
    groups: dict[str, list[tuple[str, str, Diff]]] = {}
    for step in changed_or_noted:
        groups.setdefault(group_of(step[0]), []).append(step)
    for group, members in groups.items():
        yield group
        for resource, name, diff in members:
            yield f"  {diff.action.value} {resource:<{width}}  {name}".rstrip()
            yield from (f"      {line}" for line in _change_lines(diff, details=details))
            yield from (f"      {printable(note)}" for note in diff.notes)


def group_of(resource: str) -> str:
    """The group of a resource: the part of its id before the slash."""
    return resource.partition("/")[0]


def describe(change: Change) -> Iterator[str]:
    """A change as lines: `field: old → new`.

    Of mappings, only the keys that differ. Of lists, the items that are added or removed. Items that are mappings are
    matched by their name (`NAME_KEYS`), or by their position where they have none; of a matched pair only what differs
    is shown.
    """
    old = masked_beside({change.field: change.old}, {change.field: change.new})[change.field]
    yield from _describe(printable(change.field), change.field, old, change.new)


def shown(value: Any) -> str:
    """A value on one line, cut when it is long, without the passwords in it."""
    return _cut(_text(value))


def _change_lines(diff: Diff, *, details: bool) -> Iterator[str]:
    match diff.action:
        case Action.UPDATE | Action.REPLACE | Action.REMOVE:
            for change in diff.changes:
                yield from describe(change)
        case Action.CREATE if details:
            # There is no old value to show beside the new one.
            yield from (
                f"{printable(change.field)}: {_cut(_text(change.new, change.field))}" for change in diff.changes
            )


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
    if _has_lines(new) and (old is None or _has_lines(old)):
        yield from _of_lines(field, key, old or "", new)
        return
    before, after = _cut_to_differ([_text(old, key), _text(new, key)])
    if before == after:
        yield f"{field}: {after} (what differs is not shown)"
    else:
        yield f"{field}: {before} → {after}"


def _has_lines(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value.strip()


def _of_lines(field: str, key: str, old: str, new: str) -> Iterator[str]:
    """A text of several lines: those that are removed or added, each after its neighbour."""
    before, after = (str(masked({key: text})[key]).splitlines() for text in (old, new))
    lines = [line for line in difflib.unified_diff(before, after, lineterm="", n=0) if line[0] != "@"][2:]
    if not lines:
        yield f"{field}: (what differs is not shown)"
    shown = [f"{field}: {line[0]} {_cut(printable(line[1:]))}" for line in lines]
    yield from shown[:MAX_LINES]
    if len(shown) > MAX_LINES:
        yield f"{field}: … and {len(shown) - MAX_LINES} more lines"


def _of_lists(field: str, key: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[str]:
    removed, added = [item for item in old if item not in new], [item for item in new if item not in old]
    before, after = _by_name(old, removed), _by_name(new, added)
    for name in after:
        if name in before:
            yield from _describe(f"{field}[{printable(str(name))}]", key, before[name], after[name])
            removed.remove(before[name])
            added.remove(after[name])
    texts = _cut_to_differ([_text(item, key) for item in (*added, *removed)])
    yield from (f"{field}: + {text}" for text in texts[: len(added)])
    yield from (f"{field}: - {text}" for text in texts[len(added) :])


def _by_name(items: Sequence[Any], differing: Sequence[Any]) -> dict[str | int, dict[str, Any]]:
    """The mappings among a list's items that differ, by name, or by position where they have none."""
    found: dict[str | int, dict[str, Any]] = {}
    for index, item in enumerate(items):
        if isinstance(item, dict) and item in differing:
            found.setdefault(next((item[key] for key in NAME_KEYS if isinstance(item.get(key), str)), index), item)
    return found


def _text(value: Any, key: str = "") -> str:
    value = masked({key: value})[key]
    if isinstance(value, KnownAfterApply):
        return str(value)
    if isinstance(value, str):
        return printable(value) or '""'
    if value is None:
        return "(none)"
    try:
        return printable(to_json(value, default=str, ascii_only=False))
    except ValueError:  # a number that JSON does not have, which others wrote
        return printable(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def _cut_to_differ(texts: Sequence[str]) -> list[str]:
    """Texts that are shown together, cut so that two which differ also look different."""
    same_when_cut: dict[str, set[str]] = {}
    for text in texts:
        same_when_cut.setdefault(_cut(text), set()).add(text)
    result = []
    for text in texts:
        similar = same_when_cut[_cut(text)]
        start = 0
        if len(similar) > 1:
            start = max(0, len(commonprefix(list(similar))) - CONTEXT)  # noqa: RUF071 of characters
        result.append(f"…{_cut(text[start:])}" if start else _cut(text))
    return result
