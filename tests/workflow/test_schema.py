"""The JSON Schemas: made from the classes, right in themselves, and with help for every key."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import emflow_schema
from emflow.workflow.model import convert
from emflow.workflow.schema_docs import Key, keys

ROOT = Path(__file__).parents[2]
SCHEMAS = ("workflow", "edge-config")


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every node of a schema that has a title, from the top down."""
    if isinstance(value, dict):
        if isinstance(value.get("title"), str):
            yield value
        for item in value.values():
            yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


def test_the_schemas_are_those_of_the_classes() -> None:
    for name, content in tool("make_schemas").schemas().items():
        current = (ROOT / "schema" / "emflow_schema" / name).read_text(encoding="utf-8")
        assert current == content, "run tools/make_schemas.py"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_of_draft_2020_12(name: str) -> None:
    schema = emflow_schema.load(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_examples_and_defaults_of_every_key_keep_to_its_limits(name: str) -> None:
    schema = emflow_schema.load(name)
    wrong = []
    for node in nodes(schema["properties"]):
        # An example of a large section shows some of its keys.
        partial = {"required", "properties"} <= set(node)
        validator = Draft202012Validator({"$defs": schema["$defs"], **node})
        for value in [*node.get("examples", ()), *([node["default"]] if "default" in node else ())]:
            errors = [one for one in validator.iter_errors(value) if not (partial and one.validator == "required")]
            wrong += [(node["title"], value, error.message) for error in errors]
    assert wrong == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_has_help_and_an_example(name: str) -> None:
    schema = emflow_schema.load(name)
    found = list(nodes(schema["properties"]))
    assert len(found) > 40
    assert [node["title"] for node in found if not node["description"].endswith(".") or not node["examples"]] == []


def test_defaults_of_the_schema_are_those_of_the_classes() -> None:
    """A workflow that spells out every default is the one that says nothing."""
    needed = {
        "apiVersion": "emflow/v1",
        "kind": "Workflow",
        "metadata": {"name": "x"},
        "cloud": {
            "buckets": {"inference_results": {"name": "a"}, "components": {"name": "b"}},
            "fleet": {},
            "model": {"name": "m", "artifact": "m.tflite", "inputs": {"in": [1]}},
            "compile": {"job": "c"},
            "package": {"job": "p", "component": {"name": "n"}},
            "deployment": {"target": {}},
        },
        "edge": {"streams": [{"name": "s", "url": "rtsp://camera/1"}]},
    }
    schema = emflow_schema.load("workflow")

    def spelt_out(node: dict[str, Any], given: Any) -> Any:
        node = {**schema["$defs"].get(node.get("$ref", "").rpartition("/")[2], {}), **node}
        if isinstance(given, list):
            return [spelt_out(node["items"], item) for item in given]
        if not isinstance(given, dict) or "properties" not in node:
            return given
        inner = {name: key for name, key in node["properties"].items() if name in given or "default" in key}
        return {name: spelt_out(key, given.get(name, key.get("default"))) for name, key in inner.items()}

    whole = spelt_out(schema, needed)
    assert whole["edge"]["streams"][0]["read_timeout"] == "3s"
    assert convert(whole) == convert(needed)


def test_every_pattern_lets_a_template_stand_in_its_place() -> None:
    """Editors check files whose variables are not filled in yet."""
    patterns = [node["pattern"] for node in nodes(emflow_schema.load("workflow")) if "pattern" in node]
    assert len(patterns) > 20
    for pattern in patterns:
        schema = {"type": "string", "pattern": pattern}
        assert Draft202012Validator(schema).is_valid("{{ vars.prefix }}-x"), pattern


def test_schema_and_reference_have_the_same_keys_in_the_same_order() -> None:
    in_reference = re.findall(r"^#+ `([^`]+)`$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)
    assert [key.path for key in keys()] == in_reference
    assert len(in_reference) > 150


def test_a_key_is_needed_where_it_has_no_default() -> None:
    listed: list[Key] = list(keys())
    assert [key.path for key in listed if key.required != (key.default is None)] == []
