"""What templates and plain references share: the error, the budget for output, and how a value becomes text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emflow.workflow.source.yaml12 import MAX_VALUES

MAX_TEXT = 10_000_000
"""Characters and items that all templates of one workflow may produce, intermediate results included."""

SECRET = "secret"  # noqa: S105 a mapping with only this key is a reference to a secret


class VariableError(Exception):
    """A template or variable that cannot be evaluated.

    Attributes:
        code: the finding's code.
        variable: the variable whose value failed; empty for a template elsewhere.
        cycle: the variables that depend on each other, if they do.
    """

    def __init__(self, code: str, message: str, mend: str = "", cycle: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.mend = mend
        self.variable = ""
        self.cycle = cycle


class Budget:
    """Limits what templates produce, so that a few characters cannot produce gigabytes.

    The size is charged before the value is made. Every method raises VariableError when the budget is used up.
    """

    def __init__(self) -> None:
        self._text = MAX_TEXT
        self._values = MAX_VALUES
        self._sizes: dict[int, tuple[Any, int]] = {}

    def charge(self, size: int) -> None:
        """Charge `size` characters or items."""
        self._text -= size
        if self._text < 0:
            message = f"the templates of this workflow produce more than {MAX_TEXT:,} characters or items"
            raise VariableError("EM012", message)

    def charge_values(self, value: Any) -> None:
        """Charge a list or mapping that a reference copies to another place in the workflow."""
        self._values -= self.size(value)
        if self._values < 0:
            raise VariableError("EM012", f"the templates of this workflow produce more than {MAX_VALUES:,} values")

    def size(self, value: Any) -> int:
        """The number of values in a list or mapping; fast also when it holds the same list a million times."""
        if not isinstance(value, list | dict):
            return 1
        known = self._sizes.get(id(value))
        if known is None:
            items = value.values() if isinstance(value, dict) else value
            known = value, 1 + sum(map(self.size, items))  # holds the value too: its id must not be reused
            self._sizes[id(value)] = known
        return known[1]


def as_text(value: Any) -> str:
    """A value as part of a longer text, written as YAML writes it.

    Raises:
        VariableError: it is null, a list, a mapping or a secret: those have no form inside a text.
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
            raise VariableError("EM017", "a secret never becomes text", mend)
        case None | list() | tuple() | dict():
            kind = "nothing" if value is None else "a mapping" if isinstance(value, dict) else "a list"
            raise VariableError("EM012", f"{kind} cannot be part of a text", "let the reference be the whole value")
        case _:
            str(value)  # raises where it is undefined
            raise VariableError("EM012", "this cannot be part of a text", "end it with | list, or name a value in it")
