"""A pytest plugin, `-p without_host`: runs the tests that need only what a board has, without the host side.

Nothing lists them. A module that imports the host side, itself or through a helper of the tests, is not collected, and
neither is a folder whose conftest.py does; a test whose fixture imports it is skipped. Where the code of a board
imports it, the test fails.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
HOST = ("emflow", "emflow_emulator")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    path = collection_path / "conftest.py" if collection_path.is_dir() else collection_path
    return True if path.suffix == ".py" and path.exists() and needs_host(path) else None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    outcome = yield
    if call.excinfo is None or not isinstance(missing := call.excinfo.value, ModuleNotFoundError):
        return
    where = call.excinfo.traceback[-1]
    if _of_host(missing.name or "") and TESTS in Path(where.path).parents:
        report = outcome.get_result()
        report.outcome = "skipped"
        report.longrepr = (str(where.path), where.lineno + 1, "needs the host side")


@functools.cache
def needs_host(path: Path) -> bool:
    """Whether importing this file of the tests imports the host side."""
    return any(
        _of_host(name) or any(needs_host(helper) for helper in _helpers(name))
        for name in _imported(ast.parse(path.read_text(encoding="utf-8")).body)
    )


def _of_host(module: str) -> bool:
    return module.partition(".")[0] in HOST


def _imported(statements: list[ast.stmt]) -> Iterator[str]:
    """The modules that these statements import when they run, those in functions left out."""
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (name.name for name in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield statement.module or ""
        elif isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from _imported(statement.orelse)
        elif not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for block in ("body", "orelse", "finalbody"):
                yield from _imported([part for part in getattr(statement, block, ()) if isinstance(part, ast.stmt)])


def _helpers(module: str) -> list[Path]:
    """The files of the tests that an import of this module runs: each package's on the way, and its own."""
    parts = module.split(".")
    files = [TESTS.joinpath(*parts[:length], "__init__.py") for length in range(1, len(parts) + 1)]
    return [file for file in (*files, TESTS.joinpath(*parts).with_suffix(".py")) if module and file.is_file()]
