"""Positions of keys and values in a workflow's files, and how a finding shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from os.path import commonprefix

from emflow.problems import UNPRINTABLE, Finding
from emflow.workflow.redaction import redacted
from emflow.workflow.source.secret_lines import HIDDEN, MAX_LINE, may_hold_secret, without_words_of

KeyPath = tuple[str | int, ...]
"""The keys and indices that lead from the top of a document to a value."""

MAX_COLUMNS = 160
"""Columns of a line that a finding shows; of a longer line, those around the position."""

MAX_MESSAGE = 1_000
"""Characters of a message; longer ones are shortened."""


@dataclass(frozen=True)
class Source:
    """One file: its path as messages name it, and its lines."""

    path: str
    lines: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Span:
    """The position of a key or value.

    Attributes:
        line, column: counted from 1.
        width: characters on that line.
        text: a scalar as written, without quotes.
        source: the file, which may be an imported one; None for the document's own.
    """

    line: int
    column: int
    width: int
    text: str = ""
    source: Source | None = field(default=None, repr=False, compare=False)


def format_path(key_path: KeyPath) -> str:
    """A key path as text, such as `cloud.fleet.devices[0]`."""
    text = ""
    for step in key_path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the workflow"


def finding_at(path: str, lines: tuple[str, ...], span: Span, code: str, message: str, mend: str = "") -> Finding:
    """A finding with the line that it is about and a caret under the position; passwords are masked."""
    if span.source:
        path, lines = span.source.path, span.source.lines
    snippet = ""
    if 0 < span.line <= len(lines) and len(lines[span.line - 1]) <= MAX_LINE:
        number = str(span.line)
        if may_hold_secret(lines, span.line):
            message, mend = (without_words_of(lines[span.line - 1], text) for text in (message, mend))
            snippet = f"{number} | {HIDDEN}"
            return Finding(path, span.line, span.column, code, _shortened(message), _shortened(mend), snippet)
        written = lines[span.line - 1].replace("\t", " ").rstrip()
        written = UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", written)  # one for one, so the caret stays in its column
        source = redacted(written)
        start, end = (
            _position_after_redaction(column, written, source)
            for column in (span.column - 1, span.column - 1 + span.width)
        )
        first = 0 if len(source) <= MAX_COLUMNS else max(0, start - MAX_COLUMNS // 2)
        shown, column = source[first : first + MAX_COLUMNS], start - first
        width = max(1, min(end - start, len(shown) - column))
        snippet = f"{number} | {shown}\n{' ' * len(number)} | {' ' * column}{'^' * width}"
    return Finding(path, span.line, span.column, code, _shortened(message), _shortened(mend), snippet)


def _position_after_redaction(column: int, written: str, shown: str) -> int:
    """The column in the redacted line for one in the written line; inside masked text, the first column of the mask."""
    begin = len(commonprefix([written, shown]))  # noqa: RUF071 of characters
    rest = len(commonprefix([written[begin:][::-1], shown[begin:][::-1]]))  # noqa: RUF071 of characters
    if column <= begin or written == shown:
        return column
    return column + len(shown) - len(written) if column >= len(written) - rest else begin


def _shortened(text: str) -> str:
    """A text without passwords and of limited length: a wrong value can be a megabyte."""
    text = redacted(text)
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE // 2]} … {text[-MAX_MESSAGE // 2 :]}"
