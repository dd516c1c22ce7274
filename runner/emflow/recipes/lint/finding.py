"""One error in a recipe, and its position in it."""

from __future__ import annotations

from dataclasses import dataclass

from emflow.workflow.source.positions import KeyPath, format_path


@dataclass(frozen=True)
class RecipeFinding:
    """One error. `line` counts from 1 in the recipe's text; 0 where there is none. `mend`: how to correct it."""

    place: KeyPath
    message: str
    mend: str = ""
    line: int = 0

    @property
    def about(self) -> str:
        """Its position as a path, such as `Manifests[0].Platform`; `recipe` for the whole."""
        return format_path(self.place) if self.place else "recipe"

    def __str__(self) -> str:
        where = f"{self.about}{f' (line {self.line})' if self.line else ''}"
        return f"{where}: {self.message}" + (f"; {self.mend}" if self.mend else "")
