"""`imports:`: parts of a workflow in files of their own, merged here into one document.

Mappings are merged key by key; lists and everything else are replaced as a whole. A later import overrides an earlier
one, and the importing file overrides all its imports. Every value keeps its position in the file that it came from.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from emflow.problems import Problem, WorkflowProblem
from emflow.workflow.source.document import Document, parse, read, read_bytes
from emflow.workflow.source.positions import KeyPath, Span
from emflow.workflow.source.recognition import KEYS, is_workflow
from emflow.workflow.source.root import Root
from emflow.workflow.source.yaml12 import MAX_VALUES, TOO_MANY_VALUES

KEY = "imports"

MAX_FILES = 100


def read_with_imports(path: Path, root: Root | None = None) -> Document:
    """Read a workflow file and all that it imports, and what those import, as one document.

    Args:
        root: where imported files may be; the workflow's folder when None.

    Raises:
        WorkflowProblem: one of the files is missing, wrong or outside of the root, or they import each other.
    """
    return _Reader(root or Root(path.parent)).read_workflow(path)


class _Reader:
    """Reads each file once, by however many ways it is imported."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._done: dict[str, Document] = {}
        self._values = 0

    def read_workflow(self, path: Path) -> Document:
        """The file of the command line, with its imports."""
        return self._add(os.path.realpath(path), path, (), read(path))

    def _read_part(self, path: Path, chain: Sequence[tuple[str, Path]]) -> Document | None:
        """An imported file with its imports; None when it is no part of a workflow.

        Args:
            chain: the files whose imports lead here, each as its real path and its path as written.
        """
        real = os.path.realpath(path)
        if real not in self._done:
            data = read_bytes(path)
            if data.strip() and not is_workflow(data):
                return None
            return self._add(real, path, chain, parse(str(path), data))
        return self._done[real]

    def _add(self, real: str, path: Path, chain: Sequence[tuple[str, Path]], own: Document) -> Document:
        self._values += len(own.values)
        self._done[real] = self._with_imports(own, path, [*chain, (real, path)])
        return self._done[real]

    def _with_imports(self, own: Document, path: Path, chain: Sequence[tuple[str, Path]]) -> Document:
        names = own.value.get(KEY)
        if not isinstance(names, list):
            return own  # no imports, or a wrong value, which the schema reports
        merged: Document | None = None
        for index, name in enumerate(names):
            if not isinstance(name, str):
                continue
            part = self._imported(own, (KEY, index), path.parent, name, chain)
            part = _without(part, KEY)
            merged = part if merged is None else merge(merged, part)
        return own if merged is None else merge(merged, own)

    def _imported(
        self, own: Document, key_path: KeyPath, folder: Path, name: str, chain: Sequence[tuple[str, Path]]
    ) -> Document:
        def refused(message: str, mend: str, code: str = "EM016") -> WorkflowProblem:
            return WorkflowProblem([own.finding(code, key_path, message, mend)])

        if "{{" in name or "{%" in name:
            raise refused(
                "an import cannot be a template",
                "variables are resolved after all files have been read: write the path itself",
            )
        path = Path(folder, name)
        try:
            self._root.check(path)
            exists = path.is_file()
        except Problem as problem:
            raise refused(f"{path}: {problem.what}", problem.mend, "EM078") from None
        except (OSError, ValueError):  # the name is too long, or has a NUL in it
            exists = False
        if not exists:
            raise refused(f"there is no file {path}", "an import's path starts at the folder of the file that names it")
        real = os.path.realpath(path)
        importing = [ancestor for ancestor, _ in chain]
        if real in importing:
            cycle = [str(written) for _, written in chain[importing.index(real) :]]
            raise refused(
                f"the files import each other: {' → '.join([*cycle, str(path)])}", "remove one of the imports"
            )
        if len(self._done) + len(chain) >= MAX_FILES and real not in self._done:
            raise refused(f"more than {MAX_FILES} files", "put parts that belong together into one file")
        part = self._read_part(path, chain)
        if part is None:  # it may hold secrets: nothing of it is shown, also not where it is no YAML
            mend = f"a part of a workflow has at least one of the keys {', '.join(KEYS)}"
            raise refused(f"{path} is no part of a workflow", mend)
        if self._values > MAX_VALUES:
            raise refused(f"{TOO_MANY_VALUES} in all files together", "")
        return part


def merge(base: Document, override: Document) -> Document:
    """Two documents as one: `override` overrides `base`, and gives the result its path and lines."""
    keys: dict[KeyPath, Span] = dict(override.keys)
    values: dict[KeyPath, Span] = dict(override.values)

    def keep_positions(key_path: KeyPath, value: Any) -> None:
        """Copy the positions of a value of `base`, and of all values in it."""
        if key_path in base.keys:
            keys[key_path] = base.keys[key_path]
        values[key_path] = base.values[key_path]
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for step, item in items:
            keep_positions((*key_path, step), item)

    def merged_value(key_path: KeyPath, low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
        merged = {}
        for key, value in low.items():
            child_path = (*key_path, key)
            if key not in high:
                keep_positions(child_path, value)
                merged[key] = value
            elif isinstance(value, dict) and isinstance(high[key], dict):
                merged[key] = merged_value(child_path, value, high[key])
            else:
                merged[key] = high[key]
        return {**merged, **{key: value for key, value in high.items() if key not in low}}

    return replace(override, value=merged_value((), base.value, override.value), keys=keys, values=values)


def _without(document: Document, key: str) -> Document:
    """The document without one of its top-level keys: the imports of an imported file are not passed on."""
    return replace(document, value={name: value for name, value in document.value.items() if name != key})
