"""The packages that this project was asked to build on are what it runs on, not only declared."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("runner", "edge_component", "proto", "schema")

MODULES = {
    "pyyaml": "yaml",
    "jsonschema": "jsonschema",
    "jinja2": "jinja2",
    "boto3": "boto3",
    "grpcio": "grpc",
    "protobuf": "google.protobuf",
    "opencv-python": "cv2",  # as opencv-python-headless, which is the same module
    "numpy": "numpy",
    "awsiotsdk": "awsiot",
}


def imported(path: Path) -> set[str]:
    """The modules that a file imports when it runs, so not those for type checkers only."""
    names: set[str] = set()

    def look(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
                for other in child.orelse:
                    look(other)
            elif isinstance(child, ast.Import):
                names.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and not child.level:
                names.update(f"{child.module}.{alias.name}" for alias in child.names)
            else:
                look(child)

    look(ast.parse(path.read_text(encoding="utf-8")))
    return names


def users(folders: tuple[str, ...], module: str) -> list[Path]:
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return [path for path in files if any(f"{name}.".startswith(f"{module}.") for name in imported(path))]


@pytest.mark.parametrize("package", MODULES)
def test_our_own_code_imports_it(package: str) -> None:
    found = users(PRODUCT, MODULES[package])
    assert found, f"nothing of ours imports {MODULES[package]}"


def test_our_tests_are_pytests() -> None:
    assert len(users(("tests",), "pytest")) > 50


def test_what_nothing_imports_has_no_users() -> None:
    assert users(PRODUCT, "tensorflow") == []
