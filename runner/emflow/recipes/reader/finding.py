"""One mistake in a recipe: its position, and which nucleus makes it one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from emflow.problems import Severity
from emflow.workflow.source.positions import KeyPath, format_path

Nucleus = Literal["classic", "lite"]
"""The two programs that run components on a device: AWS's one in Java, and the one in C for little memory."""


@dataclass(frozen=True)
class RecipeFinding:
    """One mistake.

    Args:
        mend: how to correct it.
        line: counts from 1 in the recipe's text; 0 where there is none.
        nucleus: the one that does not do what the recipe says; `any` for both.
        severity: `error`: that nucleus refuses the recipe, or the component fails there. `warning`: it works, but not
            as the recipe looks.
    """

    place: KeyPath
    message: str
    mend: str = ""
    line: int = 0
    nucleus: Nucleus | Literal["any"] = "any"
    severity: Severity = "error"

    @property
    def about(self) -> str:
        """Its position as a path, such as `Manifests[0].Platform`; `recipe` for the whole."""
        return format_path(self.place) if self.place else "recipe"

    def __str__(self) -> str:
        where = f"{self.about}{f' (line {self.line})' if self.line else ''}"
        return f"{where}: {self.message}" + (f"; {self.mend}" if self.mend else "")
