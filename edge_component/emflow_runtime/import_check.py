"""Imports modules with the search path that components get; a process of its own, because a wrong binary crashes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from emflow_runtime.search_path import search_path


def main(packages: str, mode: str, modules: Sequence[str]) -> None:
    """Import modules; ends with exit code 1 and one line about the first that cannot be imported.

    Args:
        packages, mode: as for `search_path`.
    """
    sys.path[:] = search_path(sys.path, packages, mode)
    current = ""
    try:
        for current in modules:
            importlib.import_module(current)
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {current}: {error}".replace("\n", " ") + "\n")
        sys.exit(1)
