"""What all templates share: the error, the budget for time and output, and how a value becomes text."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from emflow.workflow.source.yaml12 import MAX_VALUES

MAX_TEXT = 10_000_000
"""Characters and items that the templates of one budget may produce, intermediate results included."""

MAX_VALUE = 5_000_000
"""Characters and items of one value, with all values in it. A file of 4 MiB has fewer."""

MAX_STEPS = 500_000
"""Passes of loops, calls, filters, tests and operators."""

MAX_SECONDS = 5.0
"""Seconds of CPU time. Steps end a template sooner, unless each step takes long."""

SECRET = "secret"  # noqa: S105 a mapping with only this key is a reference to a secret


class VariableError(Exception):
    """A template or variable that cannot be evaluated.

    Attributes:
        code: the finding's code.
        variable: the variable whose value failed; empty for a template elsewhere.
        cycle: the variables that depend on each other, if they do.
        line: the template's line, if it is known; 0 if not.
    """

    def __init__(self, code: str, message: str, mend: str = "", cycle: Sequence[str] = (), line: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.mend = mend
        self.variable = ""
        self.cycle = cycle
        self.line = line


class Budget:
    """Limits what templates take and produce, so that a few characters can neither produce gigabytes nor run for hours.

    The size is charged before the value is made. Every method raises VariableError when the budget is used up.
    """

    def __init__(self) -> None:
        self._text = MAX_TEXT
        self._values = MAX_VALUES
        self._steps = MAX_STEPS
        self._seconds = MAX_SECONDS
        self._deadline = math.inf
        self._sizes: dict[int, tuple[Any, int]] = {}
        self._weights: dict[int, tuple[Any, int]] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """The time in which a template is compiled and rendered. Templates inside of others count once."""
        if self._deadline != math.inf:
            yield
            return
        self._deadline = time.thread_time() + self._seconds
        try:
            self._check_time()
            yield
        finally:
            self._seconds = self._deadline - time.thread_time()
            self._deadline = math.inf

    def charge(self, size: int = 0) -> None:
        """Charge a step, and `size` characters or items."""
        self._text -= size
        self._steps -= 1
        if self._text < 0:
            raise VariableError(
                "EM012", f"the templates of this workflow produce more than {MAX_TEXT:,} characters or items"
            )
        if self._steps < 0:
            mend = "a loop may be inside of too many others"
            raise VariableError("EM012", f"the templates of this workflow take more than {MAX_STEPS:,} steps", mend)
        self._check_time()

    def _check_time(self) -> None:
        if time.thread_time() > self._deadline:
            raise VariableError(
                "EM012", f"the templates of this workflow take more than {MAX_SECONDS:g} s of CPU time", "simplify them"
            )

    def refuse_large(self, value: Any) -> None:
        """Refuse a text, list or mapping that is too large as a whole, however often a part of it occurs in it."""
        if self.weight(value) > MAX_VALUE:
            raise VariableError("EM012", f"a value in the template has more than {MAX_VALUE:,} characters or items")

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

    def weight(self, value: Any) -> int:
        """The characters and items of a value as a whole; as fast as `size`."""
        if isinstance(value, str):
            return len(value)
        if not isinstance(value, list | tuple | dict):
            return 1
        known = self._weights.get(id(value))
        if known is None:
            parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            known = value, 1 + sum(map(self.weight, parts))
            self._weights[id(value)] = known
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
