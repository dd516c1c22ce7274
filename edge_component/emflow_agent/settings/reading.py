"""The given settings of the agent, each with its source; an invalid one becomes one line with its key and source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from emflow_schema import values
from emflow_schema.agent_config import InvalidSetting, read_section
from emflow_schema.key import fields

_LONGEST_SHOWN = 100
_Section = TypeVar("_Section")


class BadSetting(Exception):
    """A setting is invalid; the text is one line for the user."""


@dataclass(frozen=True)
class _Given:
    text: str
    key: str
    source: str


class GivenSettings:
    """The values that were given, each with the key it was given under and its source; later ones replace earlier."""

    def __init__(self) -> None:
        self._given: dict[str, _Given] = {}

    def put(self, name: str, value: Any, key: str, source: str) -> None:
        """Add a value; an empty one counts as not given.

        Args:
            name: the setting, as in `agent_config.SETTINGS`. key: the name that the source uses for it.

        Raises:
            BadSetting: it is not text, a number, true or false.
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
            raise BadSetting(f"{key} in {source}: {error}") from None
        if text:
            self._given[name] = _Given(text, key, source)

    def has(self, name: str) -> bool:
        return name in self._given

    def section(self, section: type[_Section]) -> _Section:
        """One section of the settings, checked and typed.

        Raises:
            BadSetting: a value is invalid, or two do not fit each other.
        """
        try:
            made = read_section(section, self._texts)
        except InvalidSetting as problem:
            raise self.bad(problem.name, problem.problem) from None
        names = {field.name: field.shape.key.agent for field in fields(section)}
        for fault in getattr(made, "faults", tuple)():
            given = self._given.get(names[fault.key])
            raise BadSetting(f"{names[fault.key]}{f' in {given.source}' if given else ''}: {fault}")
        return made

    def bad(self, name: str, problem: str) -> BadSetting:
        """The error for a given value. problem: the end of a sentence that begins with the value."""
        given = self._given[name]
        shown = given.text if len(given.text) <= _LONGEST_SHOWN else given.text[:_LONGEST_SHOWN] + "…"
        return BadSetting(f"{given.key} in {given.source}: {shown!r} {problem}")

    @property
    def _texts(self) -> Mapping[str, str]:
        return {name: given.text for name, given in self._given.items()}
