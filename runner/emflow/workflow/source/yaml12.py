"""From YAML text to nodes with positions; plain scalars have the types of YAML 1.2's core schema.

So `on`, `yes`, `12:30` and dates are text, and only `true` and `false` are booleans.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow.source.positions import Span, finding_at

UNQUOTED_TEMPLATE = "a template without quotes is a mapping in YAML"
QUOTE_TEMPLATE = 'put the whole text in quotes: "{{ vars.name }}"'

TAG = "tag:yaml.org,2002:"

BREAK = r"\r\n|[\n\r\x85\u2028\u2029]"
"""The line breaks of PyYAML and libyaml."""

# YAML 1.2.2, 10.3.2: the tags of plain scalars, and the characters that they can begin with. PyYAML's own table is
# that of YAML 1.1, where `on` is a boolean, `012` octal and `1:30` a number.
_NUMBER = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
_CORE = (
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", tuple("-+0123456789")),
    ("float", rf"{_NUMBER}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", tuple("-+.0123456789")),
)


_PATTERNS = tuple((tag, re.compile(pattern)) for tag, pattern, _ in _CORE)


MAX_DIGITS = 1_000
"""Digits of an integer. Python refuses to convert decimal ones of more than 4,300, but reads any in base 16."""


def scalar(text: str) -> Any:
    """The value of a plain scalar: None, bool, int, float or the text itself."""
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
            if len(text) > MAX_DIGITS:
                raise ValueError("a number of too many digits")
            # Not int(text, 0), which refuses a leading zero: in YAML 1.2, 0755 is the decimal number 755.
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        case "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        case _:
            return text


MAX_DEPTH = 50
"""Levels of nesting. When libyaml's composer exhausts its stack, the whole process crashes."""

MAX_VALUES = 200_000
"""Values of a file; ten thousand devices need ten thousand. A node takes 300 bytes and 3 µs."""

TOO_MANY_VALUES = f"more than {MAX_VALUES:,} values"

MAX_EXPLAINED = 50_000
"""Characters up to which a wrong text is parsed again by PyYAML's own parser, which takes four seconds a megabyte."""


class _Limit(yaml.YAMLError):
    """The text exceeds one of this module's limits; the argument says which."""


class _Core(yaml.resolver.BaseResolver):
    """YAML 1.2's plain scalars and the limits on depth and values, for either parser."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 as the base has it
    _depth = 0
    _count = 0

    def descend_resolver(self, *_: Any) -> None:
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH:
            raise _Limit(f"nested more than {MAX_DEPTH} levels deep")
        if self._count > MAX_VALUES:
            raise _Limit(TOO_MANY_VALUES)

    def ascend_resolver(self) -> None:
        self._depth -= 1


class _PythonLoader(_Core, yaml.SafeLoader):
    """PyYAML's own parser, whose messages are better than libyaml's."""


class _LibyamlLoader(_Core, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """libyaml's parser, ten times as fast, if PyYAML was built with it."""


for _tag, _pattern, _first in _CORE:
    _Core.add_implicit_resolver(TAG + _tag, re.compile(rf"(?:{_pattern})\Z"), list(_first))


def compose(name: str, text: str, lines: tuple[str, ...]) -> yaml.Node | None:
    """The root node, or None for a file without content.

    Args:
        name: the file, for messages.

    Raises:
        WorkflowProblem: the text is not YAML, nested too deeply, or has too many values.
    """
    forbidden = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if forbidden:  # found here, because the parsers do not agree on how to count its position
        raise WorkflowProblem([_forbidden(name, text, lines, forbidden.start())])
    try:
        return yaml.compose(text, Loader=_LibyamlLoader)
    except yaml.YAMLError as error:
        why = error
    except RecursionError:
        why = _Limit(f"nested more than {MAX_DEPTH} levels deep")
    if len(text) <= MAX_EXPLAINED and not isinstance(why, _Limit):
        try:  # parse again for the better message
            yaml.compose(text, Loader=_PythonLoader)
        except (yaml.YAMLError, RecursionError) as error:
            why = error if isinstance(error, yaml.YAMLError) else why
    raise WorkflowProblem([_explain(name, text, lines, why)])


def split_lines(text: str) -> tuple[str, ...]:
    """The lines as a YAML parser counts them; `str.splitlines` also splits at other characters."""
    return tuple(re.split(BREAK, text))


def _forbidden(name: str, text: str, lines: tuple[str, ...], index: int) -> Finding:
    above = split_lines(text[:index])
    span = Span(len(above), len(above[-1]) + 1, 1)
    what = f"the character U+{ord(text[index]):04X} is not allowed in YAML"
    return finding_at(name, lines, span, "EM004", what, "remove it")


def _explain(name: str, text: str, lines: tuple[str, ...], error: yaml.YAMLError) -> Finding:
    """A parser's error as a finding: its position, and the usual mistake behind it."""
    if isinstance(error, _Limit):
        return Finding(name, 0, 0, "EM009", str(error))
    if not isinstance(error, yaml.MarkedYAMLError):
        return Finding(name, 0, 0, "EM004", f"not YAML: {error}")
    problem, mark, mend = error.problem or "", error.problem_mark or error.context_mark, ""
    # With a bracket left open, the error is found only lines later, where the text no longer fits.
    left_open = mark and error.context_mark and error.context_mark.line < mark.line and "expected ',' or" in problem
    if error.context_mark and ("end of stream" in problem or "<stream end>" in problem or left_open):
        problem, mark = "this is never closed", error.context_mark  # show where it was opened
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
        return finding_at(name, lines, span, "EM008", UNQUOTED_TEMPLATE, QUOTE_TEMPLATE)
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
