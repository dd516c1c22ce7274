"""`imports:` puts parts of a workflow into files of their own, read here into one document.

Mappings merge, key by key; lists and everything else are replaced whole. A later import goes before an earlier one, the
importing file before all that it imports. Every value keeps the place in the file that it came from.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from emflow.problems import WorkflowProblem
from emflow.workflow.source.document import Document, read
from emflow.workflow.source.positions import Place, Span
from emflow.workflow.source.yaml12 import MOST_VALUES, TOO_MANY

KEY = "imports"

MOST_FILES = 100


def read_whole(path: Path) -> Document:
    """Read a workflow file and all that it imports, and what those import, as one document.

    Raises:
        WorkflowProblem: one of the files is missing or wrong, or they import each other.
    """
    return _Reader().whole(path, ())


class _Reader:
    """Reads each file once, by however many ways it is imported."""

    def __init__(self) -> None:
        self._done: dict[str, Document] = {}
        self._values = 0

    def whole(self, path: Path, way: Sequence[tuple[str, Path]]) -> Document:
        """One file with its imports; `way`: the files that led here, each with its real path."""
        real = os.path.realpath(path)
        if real not in self._done:
            own = read(path)
            self._values += len(own.values)
            self._done[real] = self._with_imports(own, path, [*way, (real, path)])
        return self._done[real]

    def _with_imports(self, own: Document, path: Path, way: Sequence[tuple[str, Path]]) -> Document:
        named = own.value.get(KEY)
        if not isinstance(named, list):
            return own  # there is none, or the schema says what is wrong with it
        merged: Document | None = None
        for index, name in enumerate(named):
            if not isinstance(name, str):
                continue
            part = self._imported(own, (KEY, index), path.parent, name, way)
            part = _without(part, KEY)
            merged = part if merged is None else merge(merged, part)
        return own if merged is None else merge(merged, own)

    def _imported(self, own: Document, at: Place, folder: Path, name: str, way: Sequence[tuple[str, Path]]) -> Document:
        def refused(message: str, mend: str) -> WorkflowProblem:
            return WorkflowProblem([own.finding("EM016", at, message, mend)])

        if "{{" in name or "{%" in name:
            raise refused(
                "an import is no template", "variables are known only when all files are read: write the path"
            )
        path = Path(folder, name)
        try:
            there = path.is_file()
        except (OSError, ValueError):  # a name that is too long, or has a NUL in it
            there = False
        if not there:
            raise refused(f"there is no file {path}", "an import's path starts at the folder of the file that names it")
        real = os.path.realpath(path)
        known = [known for known, _ in way]
        if real in known:
            circle = [str(passed) for _, passed in way[known.index(real) :]]
            raise refused(
                f"the files import each other: {' → '.join([*circle, str(path)])}", "remove one of the imports"
            )
        if len(self._done) + len(way) >= MOST_FILES and real not in self._done:
            raise refused(f"more than {MOST_FILES} files", "put parts that belong together into one file")
        part = self.whole(path, way)
        if self._values > MOST_VALUES:
            raise refused(f"{TOO_MANY} in all files together", "")
        return part


def merge(below: Document, above: Document) -> Document:
    """Two documents as one; `above` goes first. Its path and lines are those of the whole."""
    keys: dict[Place, Span] = dict(above.keys)
    values: dict[Place, Span] = dict(above.values)

    def keep(place: Place, value: Any) -> None:
        """Take over where a value of `below`, and all in it, stands."""
        if place in below.keys:
            keys[place] = below.keys[place]
        values[place] = below.values[place]
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for step, item in items:
            keep((*place, step), item)

    def both(place: Place, low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
        made = {}
        for key, value in low.items():
            here = (*place, key)
            if key not in high:
                keep(here, value)
                made[key] = value
            elif isinstance(value, dict) and isinstance(high[key], dict):
                made[key] = both(here, value, high[key])
            else:
                made[key] = high[key]
        return {**made, **{key: value for key, value in high.items() if key not in low}}

    return replace(above, value=both((), below.value, above.value), keys=keys, values=values)


def _without(document: Document, key: str) -> Document:
    """The document without one key at its top: what a part imports is its own business."""
    return replace(document, value={name: value for name, value in document.value.items() if name != key})
