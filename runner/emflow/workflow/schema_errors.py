"""Checks a workflow's values against the JSON Schema; errors become findings with position and advice."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

import emflow_schema
from emflow.json_text import to_json
from emflow.problems import Finding
from emflow.workflow.source.document import MAX_FINDINGS, Document
from emflow.workflow.source.positions import KeyPath, format_path
from emflow.workflow.source.yaml12 import scalar
from emflow.workflow.suggestions import did_you_mean

SCHEMA = "workflow"

LIMIT = "EM024"
"""The code of values that have the right type and exceed a limit. A rule's finding at the same key path replaces it."""

OR_TEMPLATE = r"|.*\{\{.*\}\}.*)$"
"""How a pattern of the schema ends when a template may stand for the value."""

UNUSABLE = ("EM022", "EM023")
"""The codes of values that have no meaning: of the wrong type, or none of those that are allowed."""

MAX_ERRORS = 10 * MAX_FINDINGS
"""Errors that are taken from jsonschema, which may report several for one mistake."""

CREDENTIALS = "credentials"
"""Values at or below this key are not repeated in messages: somebody may have written the secret itself there."""

_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping of keys",
    "array": "a list",
    "null": "nothing",
}


@dataclass(frozen=True)
class _SchemaError:
    """One error of jsonschema, reduced to what a finding needs.

    Attributes:
        keyword: the schema's keyword that the value breaks, such as `type`.
        expected: that keyword's value.
        found: the wrong value.
        schema: the schema of the wrong value.
    """

    key_path: KeyPath
    keyword: str
    expected: Any
    found: Any
    schema: Mapping[str, Any]
    message: str


def findings(document: Document, values: Mapping[str, Any]) -> list[tuple[KeyPath, Finding]]:
    """The findings for the resolved values, each with the key path of the wrong value."""
    schema = emflow_schema.load(SCHEMA)
    found: list[tuple[KeyPath, Finding]] = []
    mistyped: set[KeyPath] = set()
    # Wrong types first: other errors of a value with the wrong type follow from it.
    errors = islice(_Validator(schema).iter_errors(values), MAX_ERRORS)
    for raw in sorted(errors, key=lambda error: bool(error.validator != "type")):
        fields: Any = raw
        key_path = tuple(fields.absolute_path)
        if key_path in mistyped:
            continue
        if fields.validator == "type":
            mistyped.add(key_path)
        error = _SchemaError(
            key_path, fields.validator, fields.validator_value, fields.instance, fields.schema, fields.message
        )
        found += islice(_findings_of(document, schema, error), MAX_FINDINGS)
        if len(found) >= MAX_FINDINGS:
            break
    reported = {key_path for key_path, _ in found}
    more = (each for each in _not_finite(document, values) if each[0] not in reported)
    return [*found, *islice(more, MAX_FINDINGS)]


def _not_finite(document: Document, values: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Finding]]:
    """Numbers that JSON does not have, which is what AWS and devices get: YAML's `.nan` and `.inf`, and `1e999`.

    Where a variable has such a value, only the variable is reported, and not each value that is made of it.
    """
    found = list(_places_not_finite(values, ()))
    of_variables = any(key_path[:1] == ("vars",) for key_path, _ in found)
    for key_path, number in found:
        written = document.source_text(key_path)
        if of_variables and "{{" in written:
            continue
        shown = written if written and "{{" not in written and _is_not_finite(written) else str(number)
        message = f"{format_path(key_path)} cannot be {shown}: JSON, as AWS and devices get it, has no such number"
        yield key_path, document.finding("EM023", key_path, message, "write another number, or a text in quotes")


def _places_not_finite(value: Any, key_path: KeyPath) -> Iterator[tuple[KeyPath, float]]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield key_path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _places_not_finite(inner, (*key_path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places_not_finite(inner, (*key_path, index))


def _is_not_finite(written: str) -> bool:
    """Whether a scalar as written in the file is such a number, and not one that was overridden."""
    number = scalar(written)
    return isinstance(number, float) and not math.isfinite(number)


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    """JSON Schema's `pattern`, whose `$` matches at the end only; Python's also matches before a last line break."""
    if not isinstance(instance, str):
        return
    if pattern.endswith(OR_TEMPLATE):  # for editors; as a regular expression it takes quadratic time
        if _has_template(instance):
            return
        pattern = pattern.removesuffix(OR_TEMPLATE) + ")$"
    if not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _has_template(text: str) -> bool:
    start = text.find("{{")
    return start >= 0 and text.find("}}", start + 2) >= 0 and "\n" not in text


def _is_integer(_: Any, instance: Any) -> bool:
    """`integer` without 3.0, which JSON Schema accepts, but the workflow's classes do not."""
    return isinstance(instance, int) and not isinstance(instance, bool)


_Validator: Any = extend(
    Draft202012Validator,
    {"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)  # type: ignore[no-untyped-call]


def _findings_of(
    document: Document, schema: Mapping[str, Any], error: _SchemaError
) -> Iterator[tuple[KeyPath, Finding]]:
    key_path, name = error.key_path, format_path(error.key_path)
    match error.keyword:
        case "additionalProperties":
            known = error.schema["properties"]
            for key in error.found:
                if key not in known:
                    at = (*key_path, key)
                    message = f"unknown key `{key}` in {name}"
                    yield at, document.finding("EM020", at, message, _unknown_key_hint(schema, key, known), key=True)
        case "required":
            # jsonschema reports each missing key by itself, and names it in the message only.
            key = next(key for key in error.expected if error.message.startswith(repr(key)))
            known = error.schema["properties"]
            others = islice((other for other in error.found if other not in known), MAX_FINDINGS)
            if any(did_you_mean(other, known) == did_you_mean(key, known) for other in others):
                return  # a misspelt key, which is reported as unknown
            message = f"{name} needs the key `{key}`"
            yield key_path, document.finding("EM021", key_path, message, known[key]["description"], key=True)
        case "type":
            written = document.source_text(key_path) or str(error.found)
            yield key_path, document.finding("EM022", key_path, *_type_error(error, written), key=error.found is None)
        case "const" | "enum":
            yield key_path, document.finding("EM023", key_path, *_enum_error(error))
        case _:
            yield key_path, document.finding(LIMIT, key_path, *_limit_error(error))


def _unknown_key_hint(schema: Mapping[str, Any], key: str, known: Mapping[str, Any]) -> str:
    """Advice for an unknown key: the nearest known key, the section that it belongs to, or all known keys."""
    near = did_you_mean(key, known)
    elsewhere = [key_path[:-1] for key_path in _schema_paths(schema, ()) if key_path[-1] == key]
    if near or len(elsewhere) != 1:
        return near or f"known keys: {', '.join(known)}"
    return f"`{key}` belongs under `{format_path(elsewhere[0])}`" if elsewhere[0] else f"`{key}` belongs at the top"


def _schema_paths(schema: Mapping[str, Any], key_path: KeyPath) -> Iterator[KeyPath]:
    for key, inner in schema.get("properties", {}).items():
        yield (*key_path, key)
        yield from _schema_paths(inner.get("items", inner), (*key_path, key))


def _type_error(error: _SchemaError, written: str) -> tuple[str, str]:
    types = error.expected if isinstance(error.expected, list) else [error.expected]
    found, what = error.found, " or ".join(_TYPES[kind] for kind in types if kind != "null")
    shown = str(found) if "{{" in written else written
    message = f"{format_path(error.key_path)} has to be {what}, this is {_describe(found, shown, error.key_path)}"
    if found is None:
        return message, "write its value, or remove the line"
    if "string" in types and isinstance(found, bool | int | float):
        if "{{" in written:
            return f"{message} (from {written})", "put the variable's value in quotes where it is set"
        fits = re.search(error.schema.get("pattern", ""), written)
        return message, f'write "{written}", with quotes' if fits else _example(error)
    if "boolean" in types and isinstance(found, str) and found.lower() in ("yes", "no", "on", "off", "y", "n"):
        meant = "true" if found.lower() in ("yes", "on", "y") else "false"
        return message, f"YAML 1.2 knows only true and false: write {meant}"
    if "integer" in types and isinstance(found, str) and found.removeprefix("-").isdigit():
        return message, f"write {found}, without quotes"
    if "integer" in types and isinstance(found, float) and found.is_integer() and "{{" not in written:
        return message, f"write {found:.0f}, without a dot"
    return message, _example(error)


def _example(error: _SchemaError) -> str:
    return f"for example: {to_json(error.schema['examples'][0])}" if "examples" in error.schema else ""


def _describe(value: Any, written: str, key_path: KeyPath) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the boolean {written}"
        case int() | float():
            return f"the number {written}"
        case str():
            return (
                f"the text {value!r}"
                if len(value) <= 20 and "@" not in value and CREDENTIALS not in key_path
                else "a text"
            )
        case list():
            return "a list"
        case _:
            return "a mapping of keys"


def _enum_error(error: _SchemaError) -> tuple[str, str]:
    allowed = error.expected if error.keyword == "enum" else [error.expected]
    # Nothing is always possible there, and needs no word.
    allowed = [one for one in allowed if one is not None]
    message = f"{format_path(error.key_path)} cannot be {error.found!r}"
    if len(allowed) == 1:
        return message, f"in this version it is always {allowed[0]}"
    return message, did_you_mean(
        str(error.found), dict.fromkeys(map(str, allowed))
    ) or f"one of: {', '.join(map(str, allowed))}"


def _limit_error(error: _SchemaError) -> tuple[str, str]:
    name, limit, found = format_path(error.key_path), error.expected, error.found
    match error.keyword:
        case "minimum":
            return f"{name} has to be at least {limit}, this is {found}", _example(error)
        case "maximum":
            return f"{name} has to be at most {limit}, this is {found}", _example(error)
        case "minItems" | "maxItems" if limit > 1:
            return f"{name} needs {limit} items, this has {len(found)}", _example(error)
        case "exclusiveMinimum":
            return f"{name} has to be above {limit}, this is {found}", _example(error)
        case "minLength" | "minItems" | "minProperties":
            return f"{name} is empty", _example(error)
        case "maxLength":
            return f"{name} has {len(found)} characters, at most {limit} are possible", ""
        case _ if CREDENTIALS in error.key_path:  # it may be the secret itself
            return f"{name} is not valid", error.schema["patternErrorMessage"]
        case _:
            return f"{name} cannot be {found!r}", error.schema.get("patternErrorMessage") or _example(error)
