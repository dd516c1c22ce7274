"""Schema, classes and reference say the same; so do the rules and what is written about them."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import emflow_schema
from emflow.problems import UsageProblem
from emflow.workflow import Workflow
from emflow.workflow.rules.registry import CODES, WARNINGS
from emflow.workflow.schema_docs import Key, explain, explanations, find, keys, show
from emflow.workflow.source.document import parse

ROOT = Path(__file__).parents[2]
KEYS = [pytest.param(key, id=key.path) for key in keys()]


def made() -> Any:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "tools" / "make_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fields(kind: Any, path: str = "") -> typing.Iterator[str]:
    """The paths of all keys, from the classes alone."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if path == "" and field.name == "folder":
            continue
        here = f"{path}.{field.name}".lstrip(".")
        yield here
        hint = hints[field.name]
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        for option in options:
            if dataclasses.is_dataclass(option):
                yield from fields(option, here)
            elif typing.get_origin(option) is tuple and dataclasses.is_dataclass(typing.get_args(option)[0]):
                yield from fields(typing.get_args(option)[0], f"{here}[]")


def test_schema_classes_and_reference_have_the_same_keys_in_the_same_order() -> None:
    in_schema = [key.path for key in keys()]
    in_reference = re.findall(r"^#+ `([^`]+)`$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)
    assert in_schema == list(fields(Workflow))
    assert in_schema == in_reference


@pytest.mark.parametrize("name", ["reference.md", "rules.md"])
def test_the_generated_documents_are_current(name: str) -> None:
    current = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert current == made().documents()[name], "run tools/make_reference.py"


@pytest.mark.parametrize("key", KEYS)
def test_a_key_has_title_description_and_example_and_says_whether_it_is_needed(key: Key) -> None:
    assert key.title
    assert key.description.endswith(".")
    assert key.node["examples"]
    assert key.required == (key.default is None)


@pytest.mark.parametrize("key", KEYS)
def test_what_is_shown_as_default_and_example_is_yaml_for_the_same_value(key: Key) -> None:
    shown = [(key.example, key.node["examples"][0])]
    shown += [(key.default, key.node["default"])] if key.default is not None else []
    for text, value in shown:
        assert parse("shown.yaml", f"value: {text}\n".encode()).value["value"] == value


@pytest.mark.parametrize(
    "value", ["on", "1.0", "null", "true", "a: b", "#x", "", "- x", "{{ vars.x }}", "[", 1.5, None]
)
def test_a_shown_value_is_read_back_as_itself(value: object) -> None:
    assert parse("shown.yaml", f"value: {show(value)}\n".encode()).value["value"] == value


def test_a_key_is_found_by_its_path_with_and_without_indices() -> None:
    assert find("edge.streams[0].every") == find("edge.streams[].every") == find("edge.streams.every")
    assert find("edge.streams.every").path == "edge.streams[].every"


@pytest.mark.parametrize(
    ("path", "mend"),
    [("edge.stream", "did you mean `edge.streams`?"), ("every", "there is: edge.streams.every"), ("?", "prints all")],
)
def test_an_unknown_key_is_told_with_what_may_be_meant(path: str, mend: str) -> None:
    with pytest.raises(UsageProblem) as raised:
        find(path)
    assert mend in raised.value.mend


def test_the_schema_is_in_the_package_and_published_as_draft_2020_12() -> None:
    schema = emflow_schema.load("workflow")
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_explained_at_length(code: str) -> None:
    explanation = explain(code.lower())
    assert explanation.why.endswith(".")
    assert explanation.severity == ("warning" if code in WARNINGS else "error")
    assert f"## {code}" in (ROOT / "docs" / "rules.md").read_text()


def test_nothing_is_explained_that_is_no_code() -> None:
    text = (ROOT / "runner" / "emflow" / "workflow" / "explanations.toml").read_text()
    assert re.findall(r"^\[(EM\d{3})\]$", text, re.MULTILINE) == sorted(CODES)
    assert [each.code for each in explanations()] == sorted(CODES)


def test_an_unknown_code_is_told() -> None:
    with pytest.raises(UsageProblem, match="there is no code 'EM999'"):
        explain("EM999")
