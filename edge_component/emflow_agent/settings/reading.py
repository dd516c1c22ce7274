"""One checked value at a time out of what somebody wrote: a bad one becomes a sentence with its key and its place."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b|b)?", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BINARY = {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_LONGEST_SHOWN = 100


class BadSetting(Exception):
    """A setting is not what it has to be; its text is the one line that a person gets to read."""


@dataclass(frozen=True)
class _One:
    text: str
    key: str
    place: str


class Said:
    """The values that were given, each with the key it was given under and where; later ones replace earlier ones."""

    def __init__(self) -> None:
        self._values: dict[str, _One] = {}

    def put(self, name: str, value: Any, key: str, place: str) -> None:
        """Take a value; an empty one counts as not given.

        Raises:
            BadSetting: it is no text, number, true or false.
        """
        if value is None or value == "":
            return
        if isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, float) and value.is_integer():
            value = str(int(value))  # Greengrass makes a float of every number
        elif isinstance(value, (int, float)):
            value = str(value)
        if not isinstance(value, str):
            raise BadSetting(f"{key} in {place}: has to be text, not {_kind(value)}")
        if not value.strip():
            return
        if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
            raise BadSetting(f"{key} in {place}: holds a NUL or what is no text")
        self._values[name] = _One(value.strip(), key, place)

    def bad(self, name: str, problem: str, value: object = None) -> BadSetting:
        """The refusal of a value; without one that was given, of the default in the light of the others."""
        one = self._values.get(name)
        if one is None:
            return BadSetting(
                f"{name}: {value!r}, the default, {problem}" if value is not None else f"{name}: {problem}"
            )
        shown = one.text if len(one.text) <= _LONGEST_SHOWN else one.text[:_LONGEST_SHOWN] + "…"
        return BadSetting(f"{one.key} in {one.place}: {shown!r} {problem}")

    def text(self, name: str, default: str = "") -> str:
        one = self._values.get(name)
        return one.text if one else default

    def parts(self, name: str) -> list[str]:
        """A list, separated by commas."""
        return [part for part in map(str.strip, self.text(name).split(",")) if part]

    def truth(self, name: str, default: bool) -> bool:
        written = self.text(name, str(default)).lower()
        if written not in ("true", "false"):
            raise self.bad(name, "is neither true nor false")
        return written == "true"

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of several words, whatever its capitals; the first by default."""
        written = self.text(name, choices[0])
        found = [choice for choice in choices if choice.lower() == written.lower()]
        if not found:
            raise self.bad(name, f"is neither {' nor '.join(choices)}")
        return found[0]

    def whole(self, name: str, default: int, *, low: int, high: int) -> int:
        number = self._number(name, float(default))
        if not low <= number <= high or number != int(number):
            raise self.bad(name, f"is no whole number from {low} to {high}")
        return int(number)

    def seconds(self, name: str, default: float, *, or_none: bool = False) -> float:
        """`or_none`: 0 is a value too."""
        number = self._number(name, default)
        if or_none and number == 0:
            return 0.0
        if not 0 < number <= 366 * 86400:
            raise self.bad(name, "is no number of seconds above 0, and up to a year")
        return number

    def size(self, name: str, default: int) -> int:
        """Bytes, or a number with a unit: 512 MiB, 1.5 GB."""
        one = self._values.get(name)
        if one is None:
            return default
        match = _SIZE.fullmatch(one.text)
        if not match:
            raise self.bad(name, "is no size, such as 512 MiB or a number of bytes")
        size = float(match.group(1)) * {**_UNITS, **_BINARY}[(match.group(2) or "b").lower()]
        if size > 1 << 60:
            raise self.bad(name, "is more than any device has")
        return int(size)

    def _number(self, name: str, default: float) -> float:
        one = self._values.get(name)
        if one is None:
            return default
        try:
            number = float(one.text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.bad(name, "is no number")
        return number


def _kind(value: object) -> str:
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else type(value).__name__
