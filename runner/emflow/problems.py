"""What can go wrong in front of a user: what happened, where, and how to mend it; never a traceback."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, lone surrogates, and what ends a line or turns the direction of writing."""

_COMMAND = re.compile(r"^(\s*):(?=:)", re.MULTILINE)


def printable(text: str, *, lines: bool = False) -> str:
    """A text that somebody else wrote, as a terminal and a CI log may have it: `\\x1b` for an escape character.

    `lines`: it may have several, of which none becomes a command of GitHub's log (`::error::…`).
    """
    if not lines:
        return UNPRINTABLE.sub(_escaped, text)
    return _COMMAND.sub(r"\1\\x3a", "\n".join(UNPRINTABLE.sub(_escaped, line) for line in text.split("\n")))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    # Python's stand-in for a byte of a file name that is not UTF-8: the byte itself is what a person looks for.
    byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else None
    return found[0].encode("unicode_escape").decode() if byte is None else f"\\x{byte:02x}"


def is_utf8(text: str) -> bool:
    """Whether a text from outside can be written as UTF-8: a file name or an argument may have any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Problem(Exception):
    """Something that a person has to mend. The command line prints it and exits with `exit_code`.

    Args:
        what: the fact, in one sentence.
        where: file:line:column, or the AWS call, or the address; empty where there is no place.
        mend: what to do about it; empty where nothing is to be said.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.mend = mend

    def __str__(self) -> str:
        head = f"{printable(self.where)}: {self.what}" if self.where else self.what
        return printable(f"{head}\n  {self.mend}" if self.mend else head, lines=True)


class UsageProblem(Problem):
    """The command line is wrong."""

    exit_code = 2


@dataclass(frozen=True, order=True)
class Finding:
    """One mistake in a workflow file. `line` and `column` count from 1; 0 where there is no position.

    A workflow with an `error` is refused; a `warning` is only reported. `nucleus`: for recipes and deployments, the
    Greengrass nucleus that it is about: `classic`, `lite`, or `any` for both; empty for all else.
    """

    path: str
    line: int
    column: int
    code: str
    message: str
    mend: str = ""
    snippet: str = ""
    severity: Severity = "error"
    nucleus: str = ""

    @property
    def where(self) -> str:
        """The place for people; a program takes `path`, which may have any character."""
        path = printable(self.path)
        return f"{path}:{self.line}:{self.column}" if self.line else path

    def __str__(self) -> str:
        mark = "warning: " if self.severity == "warning" else ""
        lines = [f"{self.where}: {self.code} {mark}{printable(self.message)}"]
        lines += [f"  {text}" for text in filter(None, self.snippet.split("\n"))]
        if self.mend:
            lines.append(f"  {printable(self.mend)}")
        return printable("\n".join(lines), lines=True)


class WorkflowProblem(Problem):
    """The workflow is wrong, in one place or in several."""

    exit_code = 2

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(sorted(findings))
        super().__init__("\n".join(str(finding) for finding in self.findings))
