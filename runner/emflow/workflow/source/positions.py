"""Where things stand in a workflow's files, and how a finding shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from os.path import commonprefix

from emflow.problems import UNPRINTABLE, Finding
from emflow.workflow.redaction import redacted

Place = tuple[str | int, ...]
"""The way to a value: keys and indices, from the top."""

WIDEST = 160
"""Columns of a line that a finding shows; of a longer line, those around the place."""

LONGEST = 1_000
"""Characters of a message."""

LONGEST_LINE = 10_000
"""Of a line longer than that nothing is shown: no person wrote it, and looking for passwords in it would take long."""


@dataclass(frozen=True)
class Source:
    """One file: its path as messages name it, and its lines."""

    path: str
    lines: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Span:
    """Where something stands: line and column from 1, and its width on that line. `text` is as written, unquoted.

    `source` is the file, where it may be another than the document's own: a part may be imported.
    """

    line: int
    column: int
    width: int
    text: str = ""
    source: Source | None = field(default=None, repr=False, compare=False)


def spell(place: Place) -> str:
    """`cloud.fleet.devices[0]`, as people write it."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the workflow"


def finding_at(path: str, lines: tuple[str, ...], span: Span, code: str, message: str, mend: str = "") -> Finding:
    """A finding with the line it is about and a caret under the place; passwords are stars."""
    if span.source:
        path, lines = span.source.path, span.source.lines
    snippet = ""
    if 0 < span.line <= len(lines) and len(lines[span.line - 1]) <= LONGEST_LINE:
        written = lines[span.line - 1].replace("\t", " ").rstrip()
        written = UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", written)  # one for one: the caret stays under its place
        source = redacted(written)
        start, end = (_moved(at, written, source) for at in (span.column - 1, span.column - 1 + span.width))
        first = 0 if len(source) <= WIDEST else max(0, start - WIDEST // 2)
        shown, column = source[first : first + WIDEST], start - first
        number = str(span.line)
        width = max(1, min(end - start, len(shown) - column))
        snippet = f"{number} | {shown}\n{' ' * len(number)} | {' ' * column}{'^' * width}"
    return Finding(path, span.line, span.column, code, _short(message), _short(mend), snippet)


def _moved(at: int, written: str, shown: str) -> int:
    """Where in a line with stars a place of the written line is; what lies among stars is at the first of them."""
    begin = len(commonprefix([written, shown]))  # noqa: RUF071 of characters
    rest = len(commonprefix([written[begin:][::-1], shown[begin:][::-1]]))  # noqa: RUF071 of characters
    if at <= begin or written == shown:
        return at
    return at + len(shown) - len(written) if at >= len(written) - rest else begin


def _short(text: str) -> str:
    """What somebody may want to read of a text, without passwords: a wrong value can be a megabyte."""
    text = redacted(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
