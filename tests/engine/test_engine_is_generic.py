"""The engine knows no kind of resource: none is named in its code, neither by identifiers nor by texts."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import emflow.engine

ADAPTERS = {"answer_limits.py", "clients.py", "errors.py"}
"""They speak AWS's API, or to botocore: error codes, messages and modules, which name things of AWS."""

MODULES = sorted(path for path in Path(emflow.engine.__file__).parent.glob("*.py") if path.name not in ADAPTERS)

WORDS = {
    *("s3", "bucket", "buckets", "versioning", "lifecycle", "encryption", "kms"),
    *("iam", "role", "roles", "alias", "aliases", "policy", "policies", "trust"),
    *("sagemaker", "fleet", "fleets", "device", "devices", "compilation", "packaging"),
    *("greengrass", "component", "components", "deployment", "deployments", "core", "cores", "iot", "thing", "things"),
    *("leftover", "orphan", "orphans"),
}


def words_in_code(path):
    """Every word in identifiers and texts of a module, without its docstrings."""
    tree = ast.parse(path.read_text())
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    texts = []
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in documentation:
                texts.append(text)
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text) | ast.alias(name=text):
                texts.append(text)
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text) | ast.keyword(arg=str(text)):
                texts.append(text)
    return {word.lower() for text in texts for word in re.findall(r"[A-Z]?[a-z]+[0-9]*|[A-Z]+[0-9]*", text)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_module_of_the_engine_names_a_kind_of_resource(path):
    assert words_in_code(path) & WORDS == set()


def test_the_inspection_finds_words_in_names_and_texts(tmp_path):
    module = tmp_path / "module.py"
    module.write_text('"""About buckets."""\nLABELS = {"kms_key": roleAlias(fleet=s3.thing)}\n')
    assert words_in_code(module) & WORDS == {"kms", "role", "alias", "fleet", "s3", "thing"}
