"""docs/architecture.md is true: what it names is there, and its import rules are those that are checked."""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
PACKAGES = {
    "emflow": ROOT / "runner",
    "emflow_emulator": ROOT / "runner",
    "emflow_schema": ROOT / "schema",
    "emflow_proto": ROOT / "proto",
    "emflow_edge": ROOT / "edge_component",
    "emflow_agent": ROOT / "edge_component",
    "emflow_runtime": ROOT / "edge_component",
}
NAMES = re.findall(rf"(?<![\w./-])(?:{'|'.join(PACKAGES)})(?:\.\w+)+", TEXT)
FOLDERS = "runner|schema|proto|edge_component|tests|tools|docs|workflows|benchmarks|.ci"
PATHS = re.findall(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]*[\w*/](?:::\w+)?", TEXT)
LINKS = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)


def missing_name(name: str) -> str:
    """Why a module, or what it defines, is not there; empty when it is."""
    first, *rest = name.split(".")
    place = PACKAGES[first] / first
    while rest and ((place / rest[0]).is_dir() or (place / f"{rest[0]}.py").is_file()):
        place /= rest.pop(0)
    file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
    if not file.is_file():
        return f"there is no module {file.relative_to(ROOT)}"
    body = parsed(file).body
    for part in rest:
        found = dict(defined(body))
        if part not in found:
            return f"{file.relative_to(ROOT)} defines no {part}"
        node = found[part]
        body = node.body if isinstance(node, ast.ClassDef) else []
    return ""


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def defined(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """What the statements of a module or of a class define or import, with the statement."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node
            case ast.Assign(targets=targets):
                yield from ((target.id, node) for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, node
            case ast.ImportFrom(names=names):
                yield from ((each.asname or each.name, node) for each in names)


def missing_path(path: str) -> str:
    """Why a file, a folder, a pattern of files or a test is not there; empty when it is."""
    path, _, test = path.partition("::")
    found = list(ROOT.glob(path.rstrip("/")))
    if not found:
        return f"there is no {path}"
    return f"{path} has no {test}" if test and test not in dict(defined(parsed(found[0]).body)) else ""


def where(text: str) -> str:
    return f"docs/architecture.md:{TEXT[: TEXT.index(text)].count(chr(10)) + 1}"


def test_the_page_names_enough_to_be_about_all_of_it() -> None:
    assert {name.partition(".")[0] for name in NAMES} == set(PACKAGES)
    assert len(set(NAMES)) > 100
    assert len(set(PATHS)) > 50


def test_every_module_function_and_class_that_the_page_names_is_there() -> None:
    wrong = [f"{where(name)}: {why}" for name in sorted(set(NAMES)) if (why := missing_name(name))]
    assert wrong == [], "\n".join(wrong)


def test_every_file_and_test_that_the_page_names_is_there() -> None:
    wrong = [f"{where(path)}: {why}" for path in sorted(set(PATHS)) if (why := missing_path(path))]
    wrong += [f"{where(link)}: no {link}" for link in LINKS if not (PAGE.parent / link).exists()]
    assert wrong == [], "\n".join(wrong)


def test_the_page_has_every_import_rule_and_no_other() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    listed = TEXT.partition("import-linter;")[2].partition("Two tests hold")[0]
    assert re.findall(r"^- \*\*(.+?)\*\*", listed, re.MULTILINE) == [rule["name"] for rule in settings["contracts"]]
    assert set(settings["root_packages"]) == set(PACKAGES)


def test_the_change_that_the_page_shows_fits_the_file_that_is_edited_by_hand() -> None:
    shown = re.search(r"```diff\n--- a/(\S+)\n.*?\n@@(.*?)\n(?=--- a/)", TEXT, re.DOTALL)
    assert shown
    lines = (ROOT / shown[1]).read_text(encoding="utf-8").splitlines()
    context = [line[1:] for line in shown[2].splitlines()[1:] if line.startswith(" ")]
    assert context
    assert [line for line in context if line not in lines] == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("emflow.workflow.load.check", ""),
        ("emflow.engine.resource.Resource.diff", ""),
        ("emflow.workflow.lode", "runner/emflow/workflow/__init__.py defines no lode"),
        ("emflow.workflow.load.chek", "runner/emflow/workflow/load.py defines no chek"),
        ("emflow.engine.resource.Resource.difference", "runner/emflow/engine/resource.py defines no difference"),
    ],
)
def test_a_name_that_is_not_there_is_found(name: str, why: str) -> None:
    assert missing_name(name) == why


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("tests/workflow/broken/", ""),
        ("proto/emflow_proto/*.binpb", ""),
        ("tests/schema/test_units.pi", "there is no tests/schema/test_units.pi"),
        ("tests/schema/test_units.py::test_nothing", "tests/schema/test_units.py has no test_nothing"),
    ],
)
def test_a_path_that_is_not_there_is_found(path: str, why: str) -> None:
    assert missing_path(path) == why
