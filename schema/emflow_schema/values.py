"""One value out of a configuration: text, number, true or false, and what may have become of it on its way.

Greengrass' classic nucleus makes floats of numbers, and command lines have nothing but text, so each is taken as
either. All raise ValueError with what is wrong, as the end of a sentence: whoever calls knows the key, and whether the
value may be shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?b|b)?", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BINARY = {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_LARGEST = 1 << 60


class Unfit(ValueError):
    """What is wrong with a value; `whole` where this is the whole of it, and the value itself says no more."""

    def __init__(self, problem: str, *, whole: bool = False) -> None:
        super().__init__(problem)
        self.whole = whole


def text(value: Any) -> str:
    """A text as it is, if it is one that a path, a topic or a message can have."""
    if not isinstance(value, str):
        raise Unfit(f"has to be text, not {kind(value)}", whole=True)
    if "\0" in value:
        raise Unfit("holds a NUL character", whole=True)
    # Half of a surrogate pair, which is no character and has no UTF-8: JSON's escapes and command lines can make it.
    if any("\ud800" <= sign <= "\udfff" for sign in value):
        raise Unfit("holds what is no text", whole=True)
    return value


def truth(value: Any) -> bool:
    """True or false, whatever its capitals."""
    if isinstance(value, bool):
        return value
    if str(value).lower() not in ("true", "false"):
        raise Unfit("is neither true nor false")
    return str(value).lower() == "true"


def choice(value: str, choices: Sequence[str]) -> str:
    """One of several words, whatever its capitals."""
    found = [one for one in choices if one.lower() == value.lower()]
    if not found:
        raise Unfit(f"is none of {', '.join(choices)}")
    return found[0]


def number(value: Any) -> float:
    """A finite number."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise Unfit("is no number")
    return found


def whole(value: Any, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    found = number(value)
    if found != int(found) or not low <= found <= high:
        raise Unfit(f"is no whole number from {low} to {high}")
    return int(found)


def size(value: str) -> int:
    """Bytes, or a number with a unit: 512 MiB, 1.5 GB."""
    match = _SIZE.fullmatch(value)
    if not match:
        raise Unfit("is no size, such as 512 MiB or a number of bytes")
    found = float(match.group(1)) * {**_UNITS, **_BINARY}[(match.group(2) or "b").lower()]
    if found > _LARGEST:
        raise Unfit("is more than any device has")
    return int(found)


def kind(value: Any) -> str:
    """What a value is, for people."""
    names = {bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


def plain(value: float) -> str:
    """A number as text, without a dot where it is whole."""
    whole = isinstance(value, int) or value.is_integer()
    return str(int(value)) if whole else repr(value)
