"""The JSON Schemas of a workflow and of the edge component's configuration, made from the classes and their Keys.

tools/make_schemas.py writes them into `emflow_schema`; at run time the files are read, because that is faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from emflow.json_text import to_json
from emflow.workflow.model import Workflow
from emflow_schema.configuration import Channels, written
from emflow_schema.edge_config import EdgeConfiguration
from emflow_schema.key import Field, Key, Shape, field_of, fields
from emflow_schema.units import Duration, Interval

DRAFT = "https://json-schema.org/draft/2020-12/schema"

TEMPLATE = r".*\{\{.*\}\}.*"
"""What may stand in place of every text of a workflow: editors check files whose variables are not filled in yet."""

_NAMES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_LIMITS = {
    "string": {"shortest": "minLength", "longest": "maxLength"},
    "array": {"shortest": "minItems", "longest": "maxItems"},
    "object": {"shortest": "minProperties", "longest": "maxProperties"},
}
_BOUNDS = {"low": "minimum", "high": "maximum", "above": "exclusiveMinimum"}


def workflow_schema(root: type = Workflow) -> dict[str, Any]:
    """What a workflow file may say."""
    writer = _OfWorkflow()
    about = {
        "$schema": DRAFT,
        "title": "emflow workflow",
        "description": "One edge-ML rollout: the cloud side and the device side of a model on a fleet of boards.",
    }
    made = {**about, **writer.section(root)}
    return {**made, "$defs": writer.definitions}


def edge_config_schema(root: type = EdgeConfiguration) -> dict[str, Any]:
    """What the edge component takes for a configuration, by the names that its keys have there."""
    writer = _OfConfiguration()
    about = {
        "$schema": DRAFT,
        "title": "Configuration of the edge component",
        "description": "What a deployment tells the component; `emflow apply` writes it. Numbers, true and false may "
        "come as texts. Other keys are passed over.",
    }
    made = {**about, **writer.section(root)}
    return {**made, "$defs": writer.definitions}


class _Writer:
    """Makes nodes of a schema out of shapes; `definitions` are those that several places refer to."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}

    def section(self, kind: type) -> dict[str, Any]:
        """A mapping with the keys of a dataclass."""
        raise NotImplementedError

    def of(self, shape: Shape) -> dict[str, Any]:
        """What a value of a shape may be, without its titles and examples."""
        raise NotImplementedError

    def node(self, shape: Shape) -> dict[str, Any]:
        """A value, with what is said about it for people; a shared type by its definition."""
        shared = shape.shared
        if shared is None or shape.optional:
            return _described(shape.key, self.of(shape))
        name = shared.definition
        if name not in self.definitions:
            self.definitions[name] = {}  # its place in the order
            own = Shape(shape.kind, False, Key(), shared)
            self.definitions[name] = _described(shared, self.of(own))
        reference = {"$ref": f"#/$defs/{name}"}
        return _described(shape.own, reference) if shape.own.title else reference

    def key(self, field: Field) -> dict[str, Any]:
        """The node of a section's key, with its default."""
        made = self.node(field.shape)
        if field.required:
            return made
        examples = {"examples": made.pop("examples")} if "examples" in made else {}
        return {**made, "default": _default(field.default), **examples}

    def mapping(self, shape: Shape) -> dict[str, Any]:
        """A mapping whose keys the user names."""
        assert shape.pairs
        names, values = shape.pairs
        made: dict[str, Any] = {"type": "object", **_limits("object", shape.key)}
        if names.key.pattern:
            made["propertyNames"] = {"pattern": f"^{names.key.pattern}$", **_message(names.key)}
        if values.kind is not Any:
            made["additionalProperties"] = self.node(values)
        return made


class _OfWorkflow(_Writer):
    def section(self, kind: type) -> dict[str, Any]:
        keys = fields(kind)
        required = [field.name for field in keys if field.required]
        return {
            "type": "object",
            "additionalProperties": False,
            **({"required": required} if required else {}),
            "properties": {field.name: self.key(field) for field in keys},
        }

    def key(self, field: Field) -> dict[str, Any]:
        if field.required and len(field.shape.choices) == 1:
            return _described(field.shape.key, {"const": field.shape.choices[0]})
        return super().key(field)

    def of(self, shape: Shape) -> dict[str, Any]:
        made = self._of(shape)
        if shape.optional:
            kinds = made["type"] if isinstance(made["type"], list) else [made["type"]]
            made["type"] = [*kinds, "null"]
            if "enum" in made:
                made["enum"] = [*made["enum"], None]
        return made

    def _of(self, shape: Shape) -> dict[str, Any]:
        key = shape.key
        if shape.section and key.short:
            return self._section_or_text(shape.section, key.short)
        if shape.section:
            return self.section(shape.section)
        if shape.choices:
            return {"type": _NAMES[type(shape.choices[0])], "enum": list(shape.choices)}
        if shape.items:
            return {"type": "array", **_limits("array", key), "items": self.node(shape.items)}
        if shape.pairs:
            return self.mapping(shape)
        if shape.is_a(Channels):
            bounds = _bounds(key)
            channels = {"minItems": 3, "maxItems": 3, "items": {"type": "number", **bounds}}
            return {"type": ["number", "array"], **bounds, **channels}
        if shape.kind in (int, float):
            return {"type": _NAMES[shape.kind], **_bounds(key), **({"unit": key.unit} if key.unit else {})}
        kind = _NAMES.get(shape.kind, "string")
        pattern = {"pattern": f"^(?:{shape.pattern}|{TEMPLATE})$"} if shape.pattern else {}
        return {"type": kind, **_limits(kind, key), **pattern, **_message(key)}

    def _section_or_text(self, kind: type, short: str) -> dict[str, Any]:
        """A section, or one of the choices of its key `short`. Keywords of the one say nothing about the other."""
        choices = field_of(kind, short).shape.choices
        pattern = {"pattern": f"^(?:{'|'.join(choices)}|{TEMPLATE})$"}
        text = {**pattern, "patternErrorMessage": f"One of: {', '.join(choices)}; or a mapping."}
        return {**self.section(kind), "type": ["object", "string"], **text}


class _OfConfiguration(_Writer):
    """Every value as a text, or as what it was before somebody made a text of it."""

    def section(self, kind: type) -> dict[str, Any]:
        keys = [field for field in fields(kind) if field.shape.key.sent != "never"]
        required = [field.wire for field in keys if field.required]
        return {
            "type": "object",
            **({"required": required} if required else {}),
            "properties": {field.wire: self.key(field) for field in keys},
        }

    def key(self, field: Field) -> dict[str, Any]:
        made = super().key(field)
        if "default" in made:
            made["default"] = written(field.default)
        if made.get("default") == "":
            del made["default"]
        return made

    def of(self, shape: Shape) -> dict[str, Any]:
        key = shape.key
        if shape.section:
            made = self.section(shape.section)
            return {**made, "additionalProperties": False} if key.closed else made
        if shape.choices and isinstance(shape.choices[0], int):
            return {"enum": [*shape.choices, *map(str, shape.choices)]}
        if shape.choices:
            return {"type": "string", "enum": list(shape.choices)}
        if shape.kind is bool:
            return {"enum": [True, False, "true", "false", "True", "False", ""]}
        if shape.items and shape.items.section:
            return {"type": "array", **_limits("array", key), "items": self.node(shape.items)}
        if shape.items:
            return {"type": ["string", "array"]}
        if shape.is_a(Channels):
            return {"type": ["number", "string", "array"], **_bounds(key)}
        if shape.kind in (int, float):
            return {"type": ["number", "string"], **_bounds(key)}
        if shape.is_a(Duration) or shape.is_a(Interval):
            return {
                "type": ["string", "number"],
                "pattern": f"^\\s*(?:{shape.pattern})\\s*$",
                "maximum": 0,
                "minimum": 0,
            }
        pattern = key.device_pattern or shape.pattern
        made = {"type": "string", **_limits("string", key), **({"pattern": f"^(?:{pattern})$"} if pattern else {})}
        return {**made, **_message(key)} if pattern and not key.device_pattern else made


def _described(key: Key, node: Mapping[str, Any]) -> dict[str, Any]:
    title = {"title": key.title, "description": key.help} if key.title else {}
    return {**title, **node, **({"examples": list(key.examples)} if key.examples else {})}


def _message(key: Key) -> dict[str, str]:
    return {"patternErrorMessage": key.message} if key.message else {}


def _limits(kind: str, key: Key) -> dict[str, int]:
    names = _LIMITS.get(kind, {}).items()
    return {word: getattr(key, name) for name, word in names if getattr(key, name) is not None}


def _bounds(key: Key) -> dict[str, float]:
    return {word: getattr(key, name) for name, word in _BOUNDS.items() if getattr(key, name) is not None}


def _default(value: Any) -> Any:
    """A default as it would be written; of a section, nothing, because all of its keys have theirs."""
    if is_dataclass(value):
        return {}
    if isinstance(value, (Duration, Interval)):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def text(schema: Mapping[str, Any]) -> str:
    """A schema as a file: a node's keywords one a line, everything in them on one line where it fits."""
    return _text(schema, 0) + "\n"


def _text(value: Any, depth: int) -> str:
    flat = to_json(value, ascii_only=False)
    node = isinstance(value, Mapping) and any(word in value for word in ("title", "$schema"))
    if not isinstance(value, (Mapping, list)) or not value or (not node and len(flat) + 2 * depth <= 100):
        return flat
    inner = "  " * (depth + 1)
    if isinstance(value, Mapping):
        lines = [f"{inner}{to_json(name)}: {_text(item, depth + 1)}" for name, item in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + "  " * depth + "}"
    lines = [f"{inner}{_text(item, depth + 1)}" for item in value]
    return "[\n" + ",\n".join(lines) + "\n" + "  " * depth + "]"
