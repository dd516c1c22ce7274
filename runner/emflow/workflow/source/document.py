"""From YAML text to plain values, with the position of every key and value for messages.

Duplicate keys, tags and values that contain themselves are errors; `<<` merges mappings, as in YAML 1.1. The types of
plain scalars are determined in `yaml12`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emflow.problems import Finding, Problem, WorkflowProblem
from emflow.workflow.source.positions import KeyPath, Source, Span, finding_at
from emflow.workflow.source.recognition import ENDINGS, is_workflow
from emflow.workflow.source.safe_open import SHELL_PIPES, open_regular
from emflow.workflow.source.yaml12 import (
    MAX_DEPTH,
    MAX_VALUES,
    QUOTE_TEMPLATE,
    TAG,
    TOO_MANY_VALUES,
    UNQUOTED_TEMPLATE,
    compose,
    convert,
    resolve,
    split_lines,
)

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Bytes of one file; a list of ten thousand devices takes 300,000."""

MAX_FINDINGS = 100
"""Findings that are reported at once: more are of no use, and each costs time for its snippet."""

MERGE = "<<"

_SURROGATES = re.compile(rb"(?i)(?<!\\)((?:\\\\)*)\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")
"""A character above U+FFFF escaped as JSON does, in two halves; the backslash is not escaped itself."""


@dataclass(frozen=True)
class Document:
    """One YAML file with what it imports: its plain value, and the positions of its keys and values by key path."""

    path: str
    lines: tuple[str, ...]
    value: dict[str, Any]
    keys: dict[KeyPath, Span]
    values: dict[KeyPath, Span]

    def source_text(self, key_path: KeyPath) -> str:
        """A scalar as written in the file, before variables are resolved; empty for anything else."""
        span = self.values.get(key_path)
        return span.text if span else ""

    def finding(self, code: str, key_path: KeyPath, message: str, mend: str = "", *, key: bool = False) -> Finding:
        """A finding at a value, or at its key; when neither is in the file, at the nearest parent that is."""
        first, second = (self.keys, self.values) if key else (self.values, self.keys)
        nearest = key_path
        while nearest and nearest not in first and nearest not in second:
            nearest = nearest[:-1]
        if nearest != key_path:  # it is not in the file, so its parent's key is shown
            first, second = self.keys, self.values
        span = first.get(nearest) or second.get(nearest) or Span(1, 1, 1)
        return finding_at(self.path, self.lines, span, code, message, mend)


def read(path: Path, *, json: bool = False) -> Document:
    """Read and parse one file, without what it imports.

    Args:
        json: it is JSON, which YAML reads apart from tabs and from characters above U+FFFF that are escaped as two.

    Raises:
        WorkflowProblem: it is missing, not UTF-8, empty, not YAML, or uses something that is refused here. It quotes
            the file only when that is YAML by its ending, or a workflow by its keys: any other may hold secrets.
    """
    data = read_bytes(path)
    if not (_may_be_quoted(path) or is_workflow(data)):
        mend = "what it holds is not shown; begin with `apiVersion: emflow/v1`, and end its name with .yaml"
        raise _refused(str(path), "EM007", "is no workflow: no line begins with a key of one", mend)
    return parse(str(path), _as_yaml(data) if json else data)


def _may_be_quoted(path: Path) -> bool:
    """Whether a file that the user named may be quoted: by the ending of what a link leads to, or as a shell's pipe."""
    return os.path.realpath(path).lower().endswith(ENDINGS) or str(path).startswith(SHELL_PIPES)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, at most one more than `MAX_FILE_BYTES`. Raises WorkflowProblem."""
    name = str(path)
    try:
        with open_regular(path, sys.maxsize, allow_pipe=True) as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise _refused(name, "EM001", "there is no such file") from None
    except Problem as problem:
        raise _refused(name, "EM001", problem.what, problem.mend) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _refused(name, "EM001", f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _as_yaml(data: bytes) -> bytes:
    """JSON as YAML reads it: without tabs, and with characters above U+FFFF escaped as one."""
    return _SURROGATES.sub(_character, data.replace(b"\t", b" "))


def _character(pair: re.Match[bytes]) -> bytes:
    high, low = int(pair[2], 16), int(pair[3], 16)
    return pair[1] + b"\\U%08x" % (0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def parse(name: str, data: bytes) -> Document:
    """Parse the bytes of a workflow file; `name` is for messages. Raises as `read` does."""
    if len(data) > MAX_FILE_BYTES:
        mend = "share parts between workflows with `imports`; keep data in files of its own"
        raise _refused(name, "EM009", f"is larger than {MAX_FILE_BYTES // 1024 // 1024} MiB", mend)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        span = Span(line, column, 1)
        what = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise WorkflowProblem([finding_at(name, (), span, "EM002", what, "save the file as UTF-8")]) from None
    source = Source(name, split_lines(text))
    root = compose(name, text, source.lines)
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value and not root.style):
        raise _refused(name, "EM003", "the file is empty", "`emflow init` writes one to start from")
    if not isinstance(root, yaml.MappingNode):
        what = f"a workflow is a mapping of keys, this is {_describe(root)}"
        span = _span(root, source)
        raise WorkflowProblem([finding_at(name, (), span, "EM007", what, "begin with `apiVersion: emflow/v1`")])
    return _NodeReader(source).document(root)


def _refused(name: str, code: str, message: str, mend: str = "") -> WorkflowProblem:
    return WorkflowProblem([Finding(name, 0, 0, code, message, mend)])


def _span(node: yaml.Node, source: Source) -> Span:
    start, end = node.start_mark, node.end_mark
    width = end.column - start.column if end.line == start.line else 10_000
    text = node.value if isinstance(node, yaml.ScalarNode) else ""
    return Span(start.line + 1, start.column + 1, max(1, width), text, source)


def _describe(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single text"


class _NodeReader:
    """Converts nodes to values and positions; continues after an error, so that all errors are reported at once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._keys: dict[KeyPath, Span] = {}
        self._values: dict[KeyPath, Span] = {}
        self._findings: list[Finding] = []
        self._entered: set[int] = set()

    def document(self, root: yaml.MappingNode) -> Document:
        if self._size(root, {}) > MAX_VALUES:
            mend = "values behind an anchor count as often as it is used"
            raise _refused(self._source.path, "EM009", TOO_MANY_VALUES, mend)
        value = self._value(root, ())
        if self._findings:
            raise WorkflowProblem(self._findings)
        return Document(self._source.path, self._source.lines, value, self._keys, self._values)

    def _size(self, node: yaml.Node, known: dict[int, int]) -> int:
        """The number of values, keys included. What an anchor holds is counted once, then added for every alias."""
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) not in known:
            known[id(node)] = 1  # for a value that contains itself, which is reported later
            inner = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
            known[id(node)] = 1 + sum(self._size(part, known) for part in inner)
        return known[id(node)]

    def _value(self, node: yaml.Node, key_path: KeyPath) -> Any:
        self._values[key_path] = _span(node, self._source)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        with self._inside(node) as entered:
            if not entered:
                return None
            if node.tag not in (TAG + "map", TAG + "seq"):
                self._refuse("EM009", node, f"the tag {_tag_name(node)} is not supported", "remove it")
            if not isinstance(node, yaml.MappingNode):
                return [self._value(item, (*key_path, index)) for index, item in enumerate(node.value)]
            return self._mapping(node, key_path)

    def _mapping(self, node: yaml.MappingNode, key_path: KeyPath) -> dict[str, Any]:
        pairs = dict(self._pairs(node))
        inherited: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
        for merged in [item for key, item in node.value if _is_merge(key)]:
            for key, item in self._merged(merged):
                inherited.setdefault(key.value, (key, item))
        value = {}
        for name, (key, item) in {**inherited, **pairs}.items():
            self._keys[(*key_path, name)] = _span(key, self._source)
            value[name] = self._value(item, (*key_path, name))
        return value

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[str, tuple[yaml.ScalarNode, yaml.Node]]]:
        """The mapping's own keys, without merged ones, each once."""
        seen: dict[str, int] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                if _is_template(node, key):
                    self._refuse("EM008", node, UNQUOTED_TEMPLATE, QUOTE_TEMPLATE)
                else:
                    self._refuse("EM009", key, "a key has to be a text", "")
                continue
            if key.value in seen:
                what = f"the key `{key.value}` is defined twice"
                if _is_merge(key):
                    self._refuse("EM006", key, what, "merge several at once: <<: [*one, *other]")
                else:
                    self._refuse("EM006", key, what, f"the first is in line {seen[key.value]}; keep one of them")
                continue
            seen[key.value] = key.start_mark.line + 1
            if not _is_merge(key):
                yield key.value, (key, item)

    def _merged(self, node: yaml.Node) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """The pairs that `<<: node` adds: its own, then those that it merges itself; the first of a name counts."""
        with self._inside(node) as entered:
            if not entered:
                return
            if isinstance(node, yaml.SequenceNode):
                for item in node.value:
                    yield from self._merged(item)
            elif isinstance(node, yaml.MappingNode):
                yield from (pair for _, pair in self._pairs(node))
                for key, item in node.value:
                    if _is_merge(key):
                        yield from self._merged(item)
            else:
                mend = 'write <<: *anchor, or put the key in quotes: "<<"'
                self._refuse("EM009", node, "only a mapping can be merged", mend)

    @contextmanager
    def _inside(self, node: yaml.Node) -> Iterator[bool]:
        """Enter a list or mapping; False when it contains itself, which is reported."""
        if id(node) in self._entered:
            self._refuse("EM009", node, "the anchor contains itself", "write the value out")
            yield False
            return
        if len(self._entered) >= MAX_DEPTH:  # through anchors, each of which is less deep
            raise _refused(self._source.path, "EM009", f"nested more than {MAX_DEPTH} levels deep")
        self._entered.add(id(node))
        try:
            yield True
        finally:
            self._entered.remove(id(node))

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        tag = node.tag.removeprefix(TAG)
        if "\0" in node.value:  # "\0" in double quotes: not possible in a path, name or address
            self._refuse("EM009", node, "a text with the character U+0000 in it", "remove it")
            return ""
        if tag == "str" or tag == resolve(node.value):
            try:
                return convert(node.value, tag)
            except ValueError:  # beyond LONGEST_NUMBER
                self._refuse("EM009", node, f"a number of {len(node.value):,} digits", "put a text in quotes")
                return 0
        mend = "remove the tag, or put the text in quotes"
        self._refuse("EM009", node, f"the tag {_tag_name(node)} is not supported", mend)
        return node.value

    def _refuse(self, code: str, node: yaml.Node, message: str, mend: str) -> None:
        finding = finding_at(self._source.path, (), _span(node, self._source), code, message, mend)
        if finding not in self._findings:  # an anchor is read as often as it is used
            self._findings.append(finding)
        if len(self._findings) >= MAX_FINDINGS:
            raise WorkflowProblem(self._findings)


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value == MERGE and not key.style


def _tag_name(node: yaml.Node) -> str:
    return node.tag.replace(TAG, "!!")


def _is_template(node: yaml.MappingNode, key: yaml.Node) -> bool:
    """Whether this is `{{ x }}` without quotes: a flow mapping whose only key is a flow mapping right after `{`."""
    beside = key.start_mark.index == node.start_mark.index + 1
    return bool(node.flow_style and isinstance(key, yaml.MappingNode) and beside)
