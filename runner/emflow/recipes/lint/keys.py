"""Keys of a recipe: known or not, and written as documented or not.

The Java nucleus and the cloud accept keys in any case; the lite nucleus accepts only the documented one.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from emflow.recipes.lint.finding import RecipeFinding
from emflow.workflow.source.positions import KeyPath


def closest(name: str, known: Collection[str]) -> str:
    """The known name that is most similar; empty where none is."""
    return next(iter(difflib.get_close_matches(name, known, 1, 0.6)), "")


def documented_keys(found: Mapping[Any, Any], known: Collection[str]) -> dict[str, Any]:
    """The same map, with known keys in the documented case."""
    right = {key.lower(): key for key in known}
    return {right.get(str(key).lower(), str(key)): value for key, value in found.items()}


def key_findings(found: Mapping[Any, Any], known: Collection[str], place: KeyPath) -> Iterator[RecipeFinding]:
    """Keys that are unknown, or in another case than the documented one."""
    right = {key.lower(): key for key in known}
    for key in map(str, found):
        if key in known:
            continue
        if key.lower() in right:
            mend = f"write {right[key.lower()]}: the lite nucleus accepts no other case"
            yield RecipeFinding((*place, key), "is in another case than documented", mend)
            continue
        near = closest(key.lower(), right)
        mend = f"did you mean {right[near]}?" if near else f"known here: {', '.join(known)}"
        yield RecipeFinding((*place, key), "is an unknown key", mend)


def map_of(found: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The map under a key; empty where there is none."""
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def list_of(found: Mapping[str, Any], key: str) -> list[Any]:
    """The list under a key; empty where there is none."""
    value = found.get(key)
    return value if isinstance(value, list) else []
