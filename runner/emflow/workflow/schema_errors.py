"""The workflow's shape: what the JSON Schema says, told with the place in the file and what to do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

import emflow_schema
from emflow.problems import Finding
from emflow.workflow.source.document import MOST_FINDINGS, Document
from emflow.workflow.source.positions import Place, spell
from emflow.workflow.variables.resolve import close

SCHEMA = "workflow"

LIMIT = "EM024"
"""The code of values that have the right type and break a limit; a rule at the same place says it better."""

MOST_ERRORS = 10 * MOST_FINDINGS
"""Of jsonschema's, which may be several for one mistake."""

CREDENTIALS = "credentials"
"""What stands at or under this key is not repeated in messages: people may have put the secret itself there."""

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
class _Fault:
    """One error of the schema, without jsonschema's wrapping: which keyword, what it wants, what is there."""

    place: Place
    keyword: str
    wants: Any
    found: Any
    schema: Mapping[str, Any]
    message: str


def findings(document: Document, values: Mapping[str, Any]) -> list[tuple[Place, Finding]]:
    """What is wrong with the shape of the filled-in values, each with its place in them."""
    schema = emflow_schema.load(SCHEMA)
    told: list[tuple[Place, Finding]] = []
    mistyped: set[Place] = set()
    # What has the wrong type first: what else is wrong with such a value says nothing.
    for error in sorted(islice(_Validator(schema).iter_errors(values), MOST_ERRORS), key=_kind_of_error):
        parts: Any = error
        place = tuple(parts.absolute_path)
        if place in mistyped:
            continue
        if parts.validator == "type":
            mistyped.add(place)
        fault = _Fault(place, parts.validator, parts.validator_value, parts.instance, parts.schema, parts.message)
        told += islice(_tell(document, schema, fault), MOST_FINDINGS)
        if len(told) >= MOST_FINDINGS:
            break
    return told


def _kind_of_error(error: Any) -> bool:
    return bool(error.validator != "type")


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    """JSON Schema's `$` is the end and nothing else; Python's also matches before a last line break."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _whole(_: Any, instance: Any) -> bool:
    """To JSON Schema 3.0 is a whole number; to the classes, and to whoever reads the file, it is not."""
    return isinstance(instance, int) and not isinstance(instance, bool)


_Validator: Any = extend(
    Draft202012Validator,
    {"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _whole),
)  # type: ignore[no-untyped-call]


def _tell(document: Document, schema: Mapping[str, Any], fault: _Fault) -> Iterator[tuple[Place, Finding]]:
    place, name = fault.place, spell(fault.place)
    match fault.keyword:
        case "additionalProperties":
            known = fault.schema["properties"]
            for key in fault.found:
                if key not in known:
                    at = (*place, key)
                    message = f"unknown key `{key}` in {name}"
                    yield at, document.finding("EM020", at, message, _known(schema, key, known), key=True)
        case "required":
            # jsonschema tells of each missing key by itself, and names it only in its message.
            key = next(key for key in fault.wants if fault.message.startswith(repr(key)))
            known = fault.schema["properties"]
            others = islice((other for other in fault.found if other not in known), MOST_FINDINGS)
            if any(close(other, known) == close(key, known) for other in others):
                return  # it is there, misspelt, and told as an unknown key
            message = f"{name} needs the key `{key}`"
            yield place, document.finding("EM021", place, message, known[key]["description"], key=True)
        case "type":
            written = document.written(place) or str(fault.found)
            yield place, document.finding("EM022", place, *_type(fault, written), key=fault.found is None)
        case "const" | "enum":
            yield place, document.finding("EM023", place, *_allowed(fault))
        case _:
            yield place, document.finding(LIMIT, place, *_limit(fault))


def _known(schema: Mapping[str, Any], key: str, known: Mapping[str, Any]) -> str:
    """What was meant by an unknown key: the nearest known one, its right place, or all that is known here."""
    near = close(key, known)
    elsewhere = [place[:-1] for place in _places(schema, ()) if place[-1] == key]
    if near or len(elsewhere) != 1:
        return near or f"known here: {', '.join(known)}"
    return f"`{key}` belongs under `{spell(elsewhere[0])}`" if elsewhere[0] else f"`{key}` belongs at the top"


def _places(schema: Mapping[str, Any], place: Place) -> Iterator[Place]:
    for key, inner in schema.get("properties", {}).items():
        yield (*place, key)
        yield from _places(inner.get("items", inner), (*place, key))


def _type(fault: _Fault, written: str) -> tuple[str, str]:
    wanted = fault.wants if isinstance(fault.wants, list) else [fault.wants]
    found, what = fault.found, " or ".join(_TYPES[kind] for kind in wanted if kind != "null")
    shown = str(found) if "{{" in written else written
    message = f"{spell(fault.place)} has to be {what}, this is {_kind(found, shown, fault.place)}"
    if found is None:
        return message, "write its value, or remove the line"
    if "string" in wanted and isinstance(found, bool | int | float):
        if "{{" in written:
            return f"{message} (from {written})", "put the variable's value in quotes where it is set"
        fits = re.search(fault.schema.get("pattern", ""), written)
        return message, f'write "{written}", with quotes' if fits else _example(fault)
    if "boolean" in wanted and isinstance(found, str) and found.lower() in ("yes", "no", "on", "off", "y", "n"):
        meant = "true" if found.lower() in ("yes", "on", "y") else "false"
        return message, f"YAML 1.2 knows only true and false: write {meant}"
    if "integer" in wanted and isinstance(found, str) and found.removeprefix("-").isdigit():
        return message, f"write {found}, without quotes"
    if "integer" in wanted and isinstance(found, float) and found.is_integer() and "{{" not in written:
        return message, f"write {found:.0f}, without a dot"
    return message, _example(fault)


def _example(fault: _Fault) -> str:
    return f"for example: {json.dumps(fault.schema['examples'][0])}" if "examples" in fault.schema else ""


def _kind(value: Any, written: str, place: Place) -> str:
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
                if len(value) <= 20 and "@" not in value and CREDENTIALS not in place
                else "a text"
            )
        case list():
            return "a list"
        case _:
            return "a mapping of keys"


def _allowed(fault: _Fault) -> tuple[str, str]:
    allowed = fault.wants if fault.keyword == "enum" else [fault.wants]
    message = f"{spell(fault.place)} cannot be {fault.found!r}"
    if len(allowed) == 1:
        return message, f"in this version it is always {allowed[0]}"
    return message, close(
        str(fault.found), dict.fromkeys(map(str, allowed))
    ) or f"one of: {', '.join(map(str, allowed))}"


def _limit(fault: _Fault) -> tuple[str, str]:
    name, limit, found = spell(fault.place), fault.wants, fault.found
    match fault.keyword:
        case "minimum":
            return f"{name} has to be at least {limit}, this is {found}", _example(fault)
        case "maximum":
            return f"{name} has to be at most {limit}, this is {found}", _example(fault)
        case "minItems" | "maxItems" if limit > 1:
            return f"{name} needs {limit} items, this has {len(found)}", _example(fault)
        case "exclusiveMinimum":
            return f"{name} has to be above {limit}, this is {found}", _example(fault)
        case "minLength" | "minItems" | "minProperties":
            return f"{name} is empty", _example(fault)
        case "maxLength":
            return f"{name} has {len(found)} characters, at most {limit} are possible", ""
        case _ if CREDENTIALS in fault.place:  # it may be the secret itself
            return f"{name} is none", fault.schema["patternErrorMessage"]
        case _:
            return f"{name} cannot be {found!r}", fault.schema.get("patternErrorMessage") or _example(fault)
