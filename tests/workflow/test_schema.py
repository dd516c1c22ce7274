"""The JSON Schema against the classes: the same keys, the same defaults, and help for every key."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
import pytest
from jsonschema import Draft202012Validator

import emflow_schema
from emflow.workflow import Workflow
from emflow.workflow.model import DEVICE_NAME
from emflow_schema import units

SCHEMA = emflow_schema.load("workflow")


def resolved(node: Mapping[str, Any]) -> dict[str, Any]:
    """A property with what it refers to; what stands beside the reference counts."""
    definition = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else {}
    return {**definition, **node}


def inner_class(kind: Any) -> type | None:
    """The dataclass in a type: itself, or the items of a list of it."""
    if dataclasses.is_dataclass(kind):
        return typing.cast(type, kind)
    return next((inner for inner in map(inner_class, typing.get_args(kind)) if inner), None)


def sections(cls: type, schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, type, dict[str, Any]]]:
    """Every class of the model with its schema, from the top down."""
    yield path, cls, dict(schema)
    hints = typing.get_type_hints(cls)
    for name, node in schema["properties"].items():
        inner = inner_class(hints[name])
        if inner:
            node = resolved(node)
            yield from sections(inner, resolved(node.get("items", node)), f"{path}.{name}".lstrip("."))


SECTIONS = list(sections(Workflow, SCHEMA))
FIELDS = [
    pytest.param(field, typing.get_type_hints(cls)[field.name], schema, id=f"{path}.{field.name}".lstrip("."))
    for path, cls, schema in SECTIONS
    for field in dataclasses.fields(cls)
    if field.name != "folder"
]


def default_of(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_section_of_the_design_is_there() -> None:
    paths = {path for path, _, _ in SECTIONS}
    assert {"aws", "cloud.buckets", "cloud.package.component", "edge.streams", "edge.capture"} <= paths
    assert len(FIELDS) > 70


@pytest.mark.parametrize(("path", "cls", "schema"), [pytest.param(*s, id=s[0] or "top") for s in SECTIONS])
def test_a_section_has_the_same_keys_and_the_same_required_ones_as_its_class(
    path: str, cls: type, schema: dict[str, Any]
) -> None:
    fields = [field for field in dataclasses.fields(cls) if field.name != "folder"]
    assert list(schema["properties"]) == [field.name for field in fields]
    assert set(schema.get("required", [])) == {f.name for f in fields if default_of(f) is dataclasses.MISSING}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(("field", "kind", "schema"), FIELDS)
def test_a_key_has_its_classs_default_and_help(field: dataclasses.Field, kind: Any, schema: dict[str, Any]) -> None:
    node = resolved(schema["properties"][field.name])
    for word in ("title", "description", "examples"):
        assert node[word]
    assert node["description"].endswith(".")
    default = default_of(field)
    if default is dataclasses.MISSING:
        assert "default" not in node
    else:
        assert msgspec.convert(node["default"], kind) == default
    if typing.get_origin(kind) is Literal:
        assert set(node.get("enum") or [node["const"]]) == set(typing.get_args(kind))
    if typing.get_origin(kind) is types.UnionType:
        assert "null" in node["type"]


@pytest.mark.parametrize(("field", "kind", "schema"), FIELDS)
def test_the_examples_and_the_default_of_a_key_are_right(
    field: dataclasses.Field, kind: Any, schema: dict[str, Any]
) -> None:
    node = schema["properties"][field.name]
    partial = {"required", "properties"} <= set(resolved(node))  # an example shows some keys of a large section
    validator = Draft202012Validator({"$defs": SCHEMA["$defs"], **node})
    for value in [*resolved(node)["examples"], *([node["default"]] if "default" in node else [])]:
        errors = [error for error in validator.iter_errors(value) if not (partial and error.validator == "required")]
        assert errors == []


def test_the_patterns_of_the_schema_are_those_of_the_code() -> None:
    for name, pattern in (("edgeName", DEVICE_NAME), ("duration", units.DURATION)):
        assert SCHEMA["$defs"][name]["pattern"].startswith(f"^(?:{pattern[1:-1]}|")


def test_what_the_schema_calls_a_number_of_frames_the_code_can_read() -> None:
    pattern = SCHEMA["$defs"]["pace"]["pattern"]
    for text in ("1 frame", "5 frames", "999999999 frames"):
        assert re.fullmatch(pattern, text)
        assert units.frames(text) == int(text.split()[0])
    for text in ("0 frames", "5frames", "05 frames", "1.5 frames", "5 frames ", "frames", "1234567890 frames"):
        assert not re.fullmatch(pattern, text)
        assert units.frames(text) is None


def test_what_the_schema_calls_a_duration_the_code_can_read() -> None:
    assert [units.seconds(text) for text in ("250ms", "1s", "1.5m", "2h", "1d", "0s")] == [0.25, 1, 90, 7200, 86400, 0]
    for text in ("1", "s", "1 s", "-1s", "1S", "1s\n", "1h30m", ""):
        with pytest.raises(ValueError, match="no duration"):
            units.seconds(text)
