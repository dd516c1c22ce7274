"""What can go wrong in front of a user: what happened, where, and how to mend it; never a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


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
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.mend}" if self.mend else head


class UsageProblem(Problem):
    """The command line is wrong."""

    exit_code = 2


@dataclass(frozen=True, order=True)
class Finding:
    """One mistake in a workflow file. `line` and `column` count from 1; 0 where there is no position.

    A workflow with an `error` is refused; a `warning` is told, and goes on.
    """

    path: str
    line: int
    column: int
    code: str
    message: str
    mend: str = ""
    snippet: str = ""
    severity: Severity = "error"

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path

    def __str__(self) -> str:
        mark = "warning: " if self.severity == "warning" else ""
        lines = [f"{self.where}: {self.code} {mark}{self.message}"]
        lines += [f"  {text}" for text in self.snippet.splitlines()]
        if self.mend:
            lines.append(f"  {self.mend}")
        return "\n".join(lines)


class WorkflowProblem(Problem):
    """The workflow is wrong, in one place or in several."""

    exit_code = 2

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(sorted(findings))
        super().__init__("\n".join(str(finding) for finding in self.findings))
