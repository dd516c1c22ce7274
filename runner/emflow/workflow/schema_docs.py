"""What the schema says about each key of a workflow, in its order, for `emflow schema` and the reference."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import emflow_schema
from emflow.json_text import to_json
from emflow.problems import Severity, UsageProblem
from emflow.workflow.rules.registry import CODES, WARNINGS
from emflow.workflow.suggestions import did_you_mean

SCHEMA = "workflow"

_KINDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
}


@dataclass(frozen=True)
class Key:
    """One key. `path` as people write it, `[]` after a list; `node` is its schema without references."""

    path: str
    required: bool
    node: Mapping[str, Any]
    holds: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return str(self.node["title"])

    @property
    def description(self) -> str:
        return str(self.node["description"])

    @property
    def kind(self) -> str:
        """Its type in words, with that of its items where they are no mappings."""
        if "const" in self.node:
            return f"always {show(self.node['const'])}"
        if "enum" in self.node:
            return "one of " + ", ".join(show(value) for value in self.node["enum"] if value is not None)
        word = _kind(self.node)
        items = self.node.get("items")
        if items and not items.get("properties"):
            return f"{word} of {_kind(items)}"
        inner = self.node.get("additionalProperties")
        return f"{word} to {_kind(inner)}" if isinstance(inner, Mapping) and inner.get("type") else word

    @property
    def default(self) -> str | None:
        """The default as YAML on one line; None where the key has none."""
        return show(self.node["default"]) if "default" in self.node else None

    @property
    def example(self) -> str:
        return show(self.node["examples"][0])

    @property
    def limits(self) -> str:
        """What a value has to keep beside its type, in words; empty where there is nothing."""
        node = self.node
        limits = []
        if "minimum" in node or ("maximum" in node and "exclusiveMinimum" not in node):
            unit = f" {node['unit']}" if "unit" in node else ""
            limits.append(f"{node.get('minimum', '…')} to {node.get('maximum', '…')}{unit}")
        if "maxLength" in node:
            limits.append(f"at most {node['maxLength']} characters")
        if "exclusiveMinimum" in node:
            limits.append(f"above {node['exclusiveMinimum']}")
        if node.get("minItems", 0) > 1:
            limits.append(f"{node['minItems']} items")
        elif node.get("minItems") or node.get("minProperties"):
            limits.append("not empty")
        if "patternErrorMessage" in node:
            limits.append(str(node["patternErrorMessage"]).rstrip("."))
        return "; ".join(limits)


def keys(schema: Mapping[str, Any] | None = None) -> Iterator[Key]:
    """Every key of a workflow, parents before what they hold.

    Args:
        schema: that of workflows, when None.
    """
    schema = emflow_schema.load(SCHEMA) if schema is None else schema
    yield from _keys(schema, schema, "")


def find(path: str) -> Key:
    """One key by its path, such as `edge.streams.every`; indices (`streams[0]`, `streams[]`) may be left out.

    Raises:
        UsageProblem: there is no such key.
    """
    wanted = re.sub(r"\[\d*\]", "", path).strip(".")
    known = {key.path.replace("[]", ""): key for key in keys()}
    if wanted in known:
        return known[wanted]
    ends = [other for other in known if other.endswith(f".{wanted}")]
    mend = f"there is: {', '.join(ends)}" if ends else did_you_mean(wanted, known) or "`emflow schema` prints all"
    raise UsageProblem(f"a workflow has no key `{path}`", where="emflow schema", mend=mend)


def show(value: Any) -> str:
    """A value as YAML on one line, with quotes only where YAML needs them."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(show, value)) + "]"
    plain = isinstance(value, str) and re.fullmatch(
        r"[A-Za-z/][\w ./@-]*(://[\w./@-]+)?|\d+(\.\d+){2}|\d+(ms|s|m|h|d)", value
    )
    return str(value) if plain and value not in ("true", "false", "null") else to_json(value, ascii_only=False)


def _keys(schema: Mapping[str, Any], node: Mapping[str, Any], path: str) -> Iterator[Key]:
    for name, given in node.get("properties", {}).items():
        inner = _resolved(schema, given)
        items = _resolved(schema, inner["items"]) if "items" in inner else {}
        if items:
            inner = {**inner, "items": items}
        below = inner if "properties" in inner else items
        here = f"{path}.{name}" if path else name
        yield Key(here, name in node.get("required", ()), inner, tuple(below.get("properties", ())))
        yield from _keys(schema, below, f"{here}[]" if below is items else here)


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """A node with what it refers to; what stands beside the reference counts."""
    if "$ref" not in node:
        return dict(node)
    definition = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return {**_resolved(schema, definition), **{key: value for key, value in node.items() if key != "$ref"}}


def _kind(node: Mapping[str, Any]) -> str:
    given = node.get("type", "object")
    kinds = given if isinstance(given, list) else [given]
    return " or ".join(_KINDS[kind] for kind in kinds if kind != "null")


# What a code means, at length: for `emflow validate --explain`, docs/rules.md and SARIF.


@dataclass(frozen=True)
class Explanation:
    """One code. `wrong` and `right` are pieces of YAML, or of a command line; empty where none says more."""

    code: str
    title: str
    severity: Severity
    why: str = ""
    wrong: str = ""
    right: str = ""

    def __str__(self) -> str:
        parts = [f"{self.code} ({self.severity}): {self.title}"]
        parts += [self.why] if self.why else []
        for name in ("wrong", "right"):
            text = getattr(self, name)
            parts += [f"{name}:\n" + "\n".join(f"    {line}" for line in text.splitlines())] if text else []
        return "\n\n".join(parts)


def explanations() -> Iterator[Explanation]:
    """All of them, in the order of their codes."""
    texts = tomllib.loads(resources.files(__package__).joinpath("explanations.toml").read_text(encoding="utf-8"))
    for code, title in sorted(CODES.items()):
        severity: Severity = "warning" if code in WARNINGS else "error"
        yield Explanation(code, title, severity, **texts.get(code, {}))


def explain(code: str) -> Explanation:
    """One of them, whatever its capitals.

    Raises:
        UsageProblem: there is no such code.
    """
    known = {explanation.code: explanation for explanation in explanations()}
    if code.upper() not in known:
        mend = "`emflow validate --explain all` lists them"
        raise UsageProblem(f"there is no code {code!r}", where="--explain", mend=mend)
    return known[code.upper()]
