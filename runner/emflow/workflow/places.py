"""Where things stand in a workflow file, and how a finding shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from emflow.problems import Finding

Place = tuple[str | int, ...]
"""The way to a value: keys and indices, from the top."""


@dataclass(frozen=True)
class Span:
    """Where something stands: line and column from 1, and its width on that line. `text` is as written, unquoted."""

    line: int
    column: int
    width: int
    text: str = ""


def spell(place: Place) -> str:
    """`cloud.fleet.devices[0]`, as people write it."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the workflow"


def finding_at(path: str, lines: tuple[str, ...], span: Span, code: str, message: str, mend: str = "") -> Finding:
    """A finding with the line it is about and a caret under the place."""
    snippet = ""
    if 0 < span.line <= len(lines):
        # A camera's password may stand in this line; as many stars keep the caret where it belongs.
        source = re.sub(
            r"(://[^:/@\s]*:)([^/\s]+)(?=@)", lambda m: m[1] + "*" * len(m[2]), lines[span.line - 1].replace("\t", " ")
        )
        number = str(span.line)
        width = max(1, min(span.width, len(source.rstrip()) - span.column + 1))
        snippet = f"{number} | {source.rstrip()}\n{' ' * len(number)} | {' ' * (span.column - 1)}{'^' * width}"
    return Finding(path, span.line, span.column, code, message, mend, snippet)
