"""A recipe's text as plain values of JSON, with the line of each key and item.

YAML has more than JSON has: keys that are no texts, tags, dates, numbers to base 60. A device gets the recipe as JSON
from the cloud, so what has no equal there is an error here, and never reaches whoever reads the recipe.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from emflow.json_text import from_json
from emflow.recipes.reader.finding import RecipeFinding
from emflow.recipes.reader.variables import NAMESPACES, without_quotes
from emflow.workflow.source.positions import KeyPath

MAX_CHARACTERS = 1_000_000
"""Characters in a recipe at most; Greengrass accepts far fewer."""
MAX_VALUES = 100_000
"""Values in a recipe at most, each alias counted as often as it is used."""
MAX_DEPTH = 100
"""Maps and lists within each other at most."""

_TAG = "tag:yaml.org,2002:"
_TEXT = f"{_TAG}str"
_SCALARS = tuple(_TAG + kind for kind in ("str", "bool", "int", "float", "null"))
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BRACES = re.compile(rf":\s+\{{(?:[\w.-]+:)?(?:{'|'.join(NAMESPACES)}):[^{{}}\s]+\}}.")
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's loader (libyaml's where it is there: it is ten times faster), in which dates and `=` stay texts."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (f"{_TAG}timestamp", f"{_TAG}value")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class RecipeText:
    """A recipe's text as values of JSON, with the line of each.

    Args:
        value: None where the text cannot be read. Keys are texts, numbers finite, and nothing contains itself.
        lines: by position, keys in lower case.
        findings: why the text could not be read, and what in it has no equal in JSON.
    """

    value: Any
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    findings: tuple[RecipeFinding, ...] = ()

    def line(self, place: KeyPath) -> int:
        """The line of a position; of its parent, where the recipe does not have it."""
        place = _folded(place)
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 0)


def read_text(data: str | bytes) -> RecipeText:
    """Read a recipe in YAML or JSON."""
    try:
        text = data.decode() if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        return _unreadable("is not UTF-8 text", line=error.object.count(b"\n", 0, error.start) + 1)
    text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    if len(text) > MAX_CHARACTERS:
        return _unreadable(f"has {len(text)} characters", "is this a recipe?")
    try:
        return _read(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number that Python does not read
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        line = mark.line + 1 if mark else 0
        mend = ""
        if any(map(_BRACES.search, text.splitlines()[line - 1 : line])):
            mend = "a text that begins with a recipe variable needs quotes"
        return _unreadable(f"is no YAML: {what}", mend, line)
    except RecursionError:
        return _unreadable("is nested too deeply")
    except (LookupError, TypeError, AttributeError, ArithmeticError):  # as PyYAML does with `!!bool z`
        return _unreadable("has a value that does not fit its tag", "write it without a tag")


def _unreadable(message: str, mend: str = "", line: int = 0) -> RecipeText:
    return RecipeText(None, {}, (RecipeFinding((), message, mend, line),))


def _read(text: str) -> RecipeText:
    """Raises yaml.YAMLError, ValueError, RecursionError."""
    as_json = _json(text)
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
    except yaml.YAMLError:
        if as_json is None:
            raise
        root = None  # JSON that is no YAML: indented with tabs, for example
    walk = _Nodes()
    walk.visit(root, (), 1)
    if walk.too_large:
        return _unreadable(walk.too_large)
    value = as_json if as_json is not None else None if root is None else loader.construct_document(root)
    findings = [*walk.findings, *_values(value, ())]
    return RecipeText(value, walk.lines, tuple(findings))


def _json(text: str) -> Any:
    """The value of a JSON object; None where the text is none. YAML 1.1 reads some numbers and escapes otherwise."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return from_json(text, any_number=True)
    except ValueError:
        return None


class _Nodes:
    """A walk through YAML's nodes: stores lines, and reports what has no equal in JSON and makes it a text."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.findings: list[RecipeFinding] = []
        self.too_large = ""
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def visit(self, node: yaml.Node | None, place: KeyPath, depth: int) -> int:
        """Visit a node; returns how many values it is, aliases in full."""
        if node is None or self.too_large:
            return 0
        self.lines.setdefault(_folded(place), node.start_mark.line + 1)
        if id(node) in self._open:
            self.too_large = "contains itself"
        elif depth > MAX_DEPTH:
            self.too_large = "is nested too deeply"
        if self.too_large:
            return 0
        if id(node) not in self._sizes:  # an alias: its content is reported at its anchor
            self._open.add(id(node))
            size = 1
            if isinstance(node, yaml.MappingNode):
                size += self._map(node, place, depth)
            elif isinstance(node, yaml.SequenceNode):
                size += sum(self.visit(item, (*place, index), depth + 1) for index, item in enumerate(node.value))
            self._tag(node, place)
            self._open.discard(id(node))
            self._sizes[id(node)] = size
        size = self._sizes[id(node)]
        if size > MAX_VALUES:
            self.too_large = f"has more than {MAX_VALUES} values"
        return size

    def _map(self, node: yaml.MappingNode, place: KeyPath, depth: int) -> int:
        size, names = 0, set[str]()
        for number, (key, value) in enumerate(node.value):
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                mend = "braces within braces need quotes" if isinstance(key, yaml.MappingNode) else "write a text"
                self.findings.append(RecipeFinding(place, "has a key that is a map or a list", mend, line))
                key = yaml.ScalarNode(_TEXT, "…", key.start_mark, key.end_mark)
                node.value[number] = (key, value)
            name = str(key.value)
            here = (*place, name)
            if key.tag == f"{_TAG}merge":
                size += self.visit(value, here, depth + 1)
                continue
            if key.tag != _TEXT:
                self.findings.append(_key_that_is_no_text(key, here, line))
                key.tag = _TEXT
            if name in names:
                self.findings.append(RecipeFinding(here, "is here twice", "keep one of them", line))
            names.add(name)
            self.lines[_folded(here)] = line
            size += self.visit(value, here, depth + 1)
        return size

    def _tag(self, node: yaml.Node, place: KeyPath) -> None:
        """Tags are Python's or YAML's; in JSON there are none."""
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            if node.tag not in _SCALARS:
                self._foreign(node, place, _TEXT)
            elif node.tag.endswith((":int", ":float")) and not _PLAIN_NUMBER.fullmatch(node.value):
                quoted = f'put "{node.value}" in quotes, if a text is meant'
                message = f"{node.value} is another way to write a number, and YAML reads it as one"
                self.findings.append(RecipeFinding(place, message, quoted, line, severity="warning"))
        else:
            usual = f"{_TAG}map" if isinstance(node, yaml.MappingNode) else f"{_TAG}seq"
            if node.tag != usual:
                self._foreign(node, place, usual)

    def _foreign(self, node: yaml.Node, place: KeyPath, usual: str) -> None:
        name = node.tag.removeprefix(_TAG)
        message = f"has the tag {name!r}, and a recipe has values of JSON only"
        self.findings.append(RecipeFinding(place, message, "write it without a tag", node.start_mark.line + 1))
        node.tag = usual


def _key_that_is_no_text(key: yaml.ScalarNode, place: KeyPath, line: int) -> RecipeFinding:
    read = {"bool": "true or false", "null": "no value"}.get(key.tag.removeprefix(_TAG), "a number")
    if key.tag == f"{_TAG}bool":
        read = "true" if key.value.lower() in ("yes", "true", "on") else "false"
    message = f"is a key that YAML reads as {read}, and a key has to be a text"
    return RecipeFinding(place, message, f'put "{key.value}" in quotes', line)


def _values(value: Any, place: KeyPath) -> Iterator[RecipeFinding]:
    """What is no value of JSON, and variables without quotes, which YAML reads as maps."""
    variable = without_quotes(value)
    if variable:
        message = f"is a map to YAML, not the recipe variable {variable}"
        yield RecipeFinding(place, message, f'put "{variable}" in quotes')
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _text_findings(key, (*place, key))
            yield from _values(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _values(inner, (*place, index))
    elif isinstance(value, str):
        yield from _text_findings(value, place)
    elif isinstance(value, float) and not math.isfinite(value):
        yield RecipeFinding(place, f"{value} is no number of JSON", "put it in quotes")


def _text_findings(text: str, place: KeyPath) -> Iterator[RecipeFinding]:
    if _SURROGATE.search(text):
        yield RecipeFinding(place, "has half of a character (a lone surrogate)", "write the whole character")


def _folded(place: KeyPath) -> KeyPath:
    """A position with its keys in lower case: a key in another case is still the same key."""
    return tuple(step.lower() if isinstance(step, str) else step for step in place)
