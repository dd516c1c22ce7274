"""YAML text to plain values, with the place of every key and value kept for messages.

Duplicate keys, tags and values that contain themselves are refused; what plain scalars mean is `yaml12`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow.places import Place, Span, finding_at
from emflow.workflow.yaml12 import DEEPEST, QUOTE, TAG, UNQUOTED, compose, convert, resolve

MOST_VALUES = 1_000_000
"""More than any rollout needs; a handful of anchors can otherwise stand for billions of values."""


@dataclass(frozen=True)
class Document:
    """One YAML file as plain values (`value`) and places (`keys`, `values`)."""

    path: str
    lines: tuple[str, ...]
    value: dict[str, Any]
    keys: dict[Place, Span]
    values: dict[Place, Span]

    def written(self, place: Place) -> str:
        """A scalar as it stands in the file, before variables; empty for anything else."""
        span = self.values.get(place)
        return span.text if span else ""

    def finding(self, code: str, place: Place, message: str, mend: str = "", *, key: bool = False) -> Finding:
        """A finding at a value (or at its key); at what holds it when the value itself is not in the file."""
        first, second = (self.keys, self.values) if key else (self.values, self.keys)
        near = place
        while near and near not in first and near not in second:
            near = near[:-1]
        if near != place:  # what is not there can only be shown at the key that would hold it
            first, second = self.keys, self.values
        span = first.get(near) or second.get(near) or Span(1, 1, 1)
        return finding_at(self.path, self.lines, span, code, message, mend)


def read(path: Path) -> Document:
    """Read and parse one workflow file.

    Raises:
        WorkflowProblem: it is missing, not UTF-8, empty, not YAML, or uses what is refused here.
    """
    name = str(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _refused(name, "EM001", "there is no such file") from None
    except OSError as error:
        raise _refused(name, "EM001", f"cannot be read: {error.strerror or error}") from None
    return parse(name, data)


def parse(name: str, data: bytes) -> Document:
    """Parse the bytes of a workflow file; `name` is for messages. Raises as `read` does."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        span = Span(line, column, 1)
        what = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise WorkflowProblem([finding_at(name, (), span, "EM002", what, "save the file as UTF-8")]) from None
    lines = tuple(text.splitlines())
    root = compose(name, text, lines)
    if root is None:
        raise _refused(name, "EM003", "the file is empty", "start from workflows/demo.yaml")
    if not isinstance(root, yaml.MappingNode):
        what = f"a workflow is a mapping of keys, this is {_kind(root)}"
        raise WorkflowProblem(
            [finding_at(name, lines, _span(root), "EM007", what, "begin with `apiVersion: emflow/v1`")]
        )
    return _Walk(name, lines).document(root)


def _refused(name: str, code: str, message: str, mend: str = "") -> WorkflowProblem:
    return WorkflowProblem([Finding(name, 0, 0, code, message, mend)])


def _span(node: yaml.Node) -> Span:
    start, end = node.start_mark, node.end_mark
    width = end.column - start.column if end.line == start.line else 10_000
    text = node.value if isinstance(node, yaml.ScalarNode) else ""
    return Span(start.line + 1, start.column + 1, max(1, width), text)


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single text"


class _Walk:
    """From nodes to values and places; goes on after a mistake, so that all are told at once."""

    def __init__(self, name: str, lines: tuple[str, ...]) -> None:
        self._name = name
        self._lines = lines
        self._keys: dict[Place, Span] = {}
        self._values: dict[Place, Span] = {}
        self._findings: list[Finding] = []
        self._open: set[int] = set()
        self._count = 0

    def document(self, root: yaml.MappingNode) -> Document:
        value = self._value(root, ())
        if self._findings:
            raise WorkflowProblem(self._findings)
        return Document(self._name, self._lines, value, self._keys, self._values)

    def _value(self, node: yaml.Node, place: Place) -> Any:
        self._count += 1
        if self._count > MOST_VALUES:
            raise _refused(self._name, "EM009", f"more than {MOST_VALUES:,} values")
        self._values[place] = _span(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            self._refuse("EM009", node, "an anchor that contains itself", "write the value out")
            return None
        if len(self._open) >= DEEPEST:  # through anchors: each by itself is no deeper than that
            raise _refused(self._name, "EM009", f"nested more than {DEEPEST} levels deep")
        self._open.add(id(node))
        try:
            if node.tag not in (TAG + "map", TAG + "seq"):
                self._refuse("EM009", node, f"the tag {_tag_name(node)} means nothing here", "remove it")
            if not isinstance(node, yaml.MappingNode):
                return [self._value(item, (*place, index)) for index, item in enumerate(node.value)]
            return {key: self._value(item, (*place, key)) for key, item in self._pairs(node, place)}
        finally:
            self._open.remove(id(node))

    def _pairs(self, node: yaml.MappingNode, place: Place) -> Iterator[tuple[str, yaml.Node]]:
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                if _is_template(node, key):
                    self._refuse("EM008", node, UNQUOTED, QUOTE)
                else:
                    self._refuse("EM009", key, "a key has to be a text", "")
                continue
            if (*place, key.value) in self._keys:
                first = self._keys[(*place, key.value)].line
                mend = f"the first is in line {first}; keep one of them"
                self._refuse("EM006", key, f"the key `{key.value}` is here twice", mend)
                continue
            self._keys[(*place, key.value)] = _span(key)
            yield key.value, item

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        tag = node.tag.removeprefix(TAG)
        if tag == "str" or tag == resolve(node.value):
            return convert(node.value, tag)
        mend = "remove the tag, or put the text in quotes"
        self._refuse("EM009", node, f"the tag {_tag_name(node)} means nothing here", mend)
        return node.value

    def _refuse(self, code: str, node: yaml.Node, message: str, mend: str) -> None:
        self._findings.append(finding_at(self._name, self._lines, _span(node), code, message, mend))


def _tag_name(node: yaml.Node) -> str:
    return node.tag.replace(TAG, "!!")


def _is_template(node: yaml.MappingNode, key: yaml.Node) -> bool:
    """`{{ x }}` without quotes: a flow mapping whose only key is a flow mapping that starts beside it."""
    beside = key.start_mark.index == node.start_mark.index + 1
    return bool(node.flow_style and isinstance(key, yaml.MappingNode) and beside)
