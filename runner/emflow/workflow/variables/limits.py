"""What templates and plain references share: how a value becomes text, what is refused, and what all may cost."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from emflow.workflow.source.yaml12 import MOST_VALUES

MOST_TEXT = 10_000_000
"""Characters and items that all templates of a workflow may make, on the way and in the end."""

SECRET = "secret"  # noqa: S105 the key that makes a mapping a reference to a secret


class Refused(Exception):
    """One template that cannot be worked out. `variable`: in which variable, if in one; `circle`: in which ones."""

    def __init__(self, code: str, message: str, mend: str = "", circle: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.mend = mend
        self.variable = ""
        self.circle = circle


class Budget:
    """Counts what templates make, so that a few characters cannot ask for gigabytes; used up before it is made."""

    def __init__(self) -> None:
        self._text = MOST_TEXT
        self._values = MOST_VALUES
        self._sizes: dict[int, tuple[Any, int]] = {}

    def charge(self, size: int) -> None:
        self._text -= size
        if self._text < 0:
            raise Refused("EM012", f"the templates of this workflow make more than {MOST_TEXT:,} characters or items")

    def charge_values(self, value: Any) -> None:
        """Pay for a list or mapping that a reference puts in another place of the workflow."""
        self._values -= self.size(value)
        if self._values < 0:
            raise Refused("EM012", f"the templates of this workflow make more than {MOST_VALUES:,} values")

    def size(self, value: Any) -> int:
        """How many values are in it; quick also where the same list is in it a million times."""
        if not isinstance(value, list | dict):
            return 1
        known = self._sizes.get(id(value))
        if known is None:
            items = value.values() if isinstance(value, dict) else value
            known = value, 1 + sum(map(self.size, items))  # the value is kept, so that its id stays its own
            self._sizes[id(value)] = known
        return known[1]


def as_text(value: Any) -> str:
    """A value in the middle of a text, as YAML writes it.

    Raises:
        Refused: it is nothing, a list, a mapping or a secret; Python's way of writing those is nobody's.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case {"secret": str()} if len(value) == 1:
            mend = 'a reference stands alone: credentials: "{{ vars.name }}"'
            raise Refused("EM017", "a secret never becomes text", mend)
        case None | list() | tuple() | dict():
            kind = "nothing" if value is None else "a mapping" if isinstance(value, dict) else "a list"
            raise Refused("EM012", f"{kind} cannot be part of a text", "let the reference be the whole value")
        case _:
            str(value)  # raises where it is undefined
            raise Refused("EM012", "this cannot be part of a text", "end it with | list, or name a value in it")


def close(name: str, known: Iterable[str]) -> str:
    """ "did you mean `x`?", or nothing where nothing is near; `-`, `_` and capitals are no difference."""
    plain = {re.sub(r"[-_]", "", other).lower(): other for other in known}
    near = difflib.get_close_matches(re.sub(r"[-_]", "", name[:100]).lower(), plain, 1, 0.6)
    return f"did you mean `{plain[near[0]]}`?" if near else ""
