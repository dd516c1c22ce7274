"""YAML text to nodes that know their place; plain scalars mean what YAML 1.2's core schema says.

So `on`, `yes` and `12:30` are text, only `true` and `false` are booleans, and dates are text.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow.source.positions import Span, finding_at

UNQUOTED = "a template without quotes reads as a mapping in YAML"
QUOTE = 'put the whole text in quotes: "{{ vars.name }}"'

TAG = "tag:yaml.org,2002:"

BREAK = r"\r\n|[\n\r\x85\u2028\u2029]"
"""What ends a line, to PyYAML and libyaml."""

# YAML 1.2.2, 10.3.2: the tags of plain scalars, and the characters that they can begin with. PyYAML's own table is
# YAML 1.1's, with its `on`, `012` and `1:30`.
_NUMBER = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
_CORE = (
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", tuple("-+0123456789")),
    ("float", rf"{_NUMBER}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", tuple("-+.0123456789")),
)


_PATTERNS = tuple((tag, re.compile(pattern)) for tag, pattern, _ in _CORE)


LONGEST_NUMBER = 1_000
"""Digits of a whole number. Python neither reads nor writes one of more than 4,300, but reads any in base 16."""


def scalar(text: str) -> Any:
    """What a plain scalar means: null, bool, int, float or the text itself."""
    return convert(text, resolve(text))


def resolve(text: str) -> str:
    """The short tag (`null`, `bool`, `int`, `float`, `str`) of a plain scalar."""
    return next((tag for tag, pattern in _PATTERNS if pattern.fullmatch(text)), "str")


def convert(text: str, tag: str) -> Any:
    """The value of a scalar with a short tag that fits it.

    Raises:
        ValueError: it is a whole number of more than `LONGEST_NUMBER` digits.
    """
    match tag:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            if len(text) > LONGEST_NUMBER:
                raise ValueError("a number of too many digits")
            # Not int(text, 0): a leading zero is no base here, 0755 is seven hundred and fifty-five.
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        case "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        case _:
            return text


DEEPEST = 50
"""Levels of nesting; libyaml's composer ends the process, not the parse, when its stack runs out."""

MOST_VALUES = 200_000
"""More than any rollout needs: ten thousand devices are ten thousand. A node is 300 bytes and 3 µs."""

TOO_MANY = f"more than {MOST_VALUES:,} values"

EXPLAINED = 50_000
"""Characters up to which PyYAML's own parser is asked for its message: it reads a megabyte in four seconds."""


class _Limit(yaml.YAMLError):
    """The text goes beyond a limit of ours; the argument says which."""


class _Core(yaml.resolver.BaseResolver):
    """YAML 1.2's plain scalars, and an end to nesting and to values, for either parser."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 as the base has it
    _depth = 0
    _count = 0

    def descend_resolver(self, *_: Any) -> None:
        self._depth += 1
        self._count += 1
        if self._depth > DEEPEST:
            raise _Limit(f"nested more than {DEEPEST} levels deep")
        if self._count > MOST_VALUES:
            raise _Limit(TOO_MANY)

    def ascend_resolver(self) -> None:
        self._depth -= 1


class _Slow(_Core, yaml.SafeLoader):
    """PyYAML's own parser: its messages are better than libyaml's."""


class _Fast(_Core, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """libyaml's parser, ten times as fast, where PyYAML was built with it."""


for _tag, _pattern, _first in _CORE:
    _Core.add_implicit_resolver(TAG + _tag, re.compile(rf"(?:{_pattern})\Z"), list(_first))


def compose(name: str, text: str, lines: tuple[str, ...]) -> yaml.Node | None:
    """The root node, or None for a file without content.

    Raises:
        WorkflowProblem: the text is not YAML, nested too deeply, or has too many values.
    """
    forbidden = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if forbidden:  # found here, because the parsers count characters, bytes or chunks on the way to it
        raise WorkflowProblem([_forbidden(name, text, lines, forbidden.start())])
    try:
        return yaml.compose(text, Loader=_Fast)
    except yaml.YAMLError as error:
        why = error
    except RecursionError:
        why = _Limit(f"nested more than {DEEPEST} levels deep")
    if len(text) <= EXPLAINED and not isinstance(why, _Limit):
        try:  # again, only for its message
            yaml.compose(text, Loader=_Slow)
        except (yaml.YAMLError, RecursionError) as error:
            why = error if isinstance(error, yaml.YAMLError) else why
    raise WorkflowProblem([_explain(name, text, lines, why)])


def split_lines(text: str) -> tuple[str, ...]:
    """The lines as a YAML parser counts them; `str.splitlines` knows of more line breaks."""
    return tuple(re.split(BREAK, text))


def _forbidden(name: str, text: str, lines: tuple[str, ...], index: int) -> Finding:
    above = split_lines(text[:index])
    span = Span(len(above), len(above[-1]) + 1, 1)
    what = f"the character U+{ord(text[index]):04X} is not allowed in YAML"
    return finding_at(name, lines, span, "EM004", what, "remove it")


def _explain(name: str, text: str, lines: tuple[str, ...], error: yaml.YAMLError) -> Finding:
    """A parser's error as a finding: where it is, and what people usually meant."""
    if isinstance(error, _Limit):
        return Finding(name, 0, 0, "EM009", str(error))
    if not isinstance(error, yaml.MarkedYAMLError):
        return Finding(name, 0, 0, "EM004", f"not YAML: {error}")
    problem, mark, mend = error.problem or "", error.problem_mark or error.context_mark, ""
    # A bracket that stays open swallows the lines below it, until one of them fits no longer.
    swallows = mark and error.context_mark and error.context_mark.line < mark.line and "expected ',' or" in problem
    if error.context_mark and ("end of stream" in problem or "<stream end>" in problem or swallows):
        problem, mark = "this is never closed", error.context_mark  # where it began says more than where the file ends
    if mark is None:
        return Finding(name, 0, 0, "EM004", f"not YAML: {problem}")
    span = Span(mark.line + 1, mark.column + 1, 1)
    if text[mark.index : mark.index + 1] == "\t":
        return finding_at(name, lines, span, "EM005", "a tab, where YAML allows only spaces", "indent with spaces")
    template = (
        re.search(r"(?:[:\[,{-]\s+)(\{\{)", lines[mark.line][: mark.column + 1]) if mark.line < len(lines) else None
    )
    if template:
        span = Span(mark.line + 1, template.start(1) + 1, 2)
        return finding_at(name, lines, span, "EM008", UNQUOTED, QUOTE)
    if "expected a single document" in (error.context or ""):
        mend = "one file holds one workflow: split the file, or remove the `---`"
        return finding_at(name, lines, span, "EM009", "a second document begins here", mend)
    if "mapping values are not allowed" in problem:
        problem, mend = "a `:` where no key can be", "put a text that has `: ` in it in quotes; check the indentation"
    elif "cannot start any token" in problem:
        problem, mend = f"a text cannot begin with `{text[mark.index : mark.index + 1]}`", "put the text in quotes"
    elif "block end" in problem:
        problem, mend = "this does not fit the lines above it", "keys that belong together begin in the same column"
    elif "but got '{'" in problem:
        problem, mend = "a brace inside a text", 'put the text in quotes, as in {topic: "em/{thing}"}'
    elif "undefined alias" in problem:
        mend = "define it with & before it is used with *, or put a text that begins with * in quotes"
    return finding_at(name, lines, span, "EM004", f"not YAML: {problem}", mend)
