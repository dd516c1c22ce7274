"""One checked value at a time out of what somebody wrote: a bad one becomes a sentence with its key and its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from emflow_schema import values
from emflow_schema.units import YEAR

_LONGEST_SHOWN = 100
_Value = TypeVar("_Value")


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
        elif isinstance(value, (int, float)):
            value = values.plain(value)  # Greengrass makes a float of every number
        try:
            text = values.text(value).strip()
        except values.Unfit as error:
            raise BadSetting(f"{key} in {place}: {error}") from None
        if text:
            self._values[name] = _One(text, key, place)

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
        return self._read(name, str(default), values.truth)

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of several words, whatever its capitals; the first by default."""
        return self._read(name, choices[0], lambda text: values.choice(text, choices))

    def whole(self, name: str, default: int, *, low: int, high: int) -> int:
        return self._read(name, str(default), lambda text: values.whole(text, low, high))

    def seconds(self, name: str, default: float, *, or_none: bool = False) -> float:
        """`or_none`: 0 is a value too."""
        number = self._read(name, str(default), values.number)
        if or_none and number == 0:
            return 0.0
        if not 0 < number <= YEAR:
            raise self.bad(name, "is no number of seconds above 0, and up to a year")
        return number

    def size(self, name: str, default: int) -> int:
        """Bytes, or a number with a unit: 512 MiB, 1.5 GB."""
        return self._read(name, str(default), values.size)

    def _read(self, name: str, default: str, read: Callable[[str], _Value]) -> _Value:
        try:
            return read(self.text(name, default))
        except values.Unfit as error:
            raise self.bad(name, str(error)) from None
