"""Findings as text, JSON and GitHub annotations; `sarif` is the module beside this one.

A format takes the report of a check, and gives what is printed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum

from emflow.problems import Finding, printable


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


@dataclass(frozen=True)
class Report:
    """What a check of several files found. A finding may lie in another file: one that a file imports.

    Args:
        files: those that were asked for, in this order.
        wrong: those of them that are refused.
    """

    files: tuple[str, ...]
    wrong: frozenset[str]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)


def show(form: Format, report: Report) -> str:
    """A report in one of the formats."""
    if form is Format.SARIF:
        from emflow.cli.sarif import sarif  # reads the texts of all rules

        return sarif(report.findings)
    shown: dict[Format, Callable[[Report], str]] = {Format.TEXT: text, Format.JSON: as_json, Format.GITHUB: github}
    return shown[form](report)


def text(report: Report) -> str:
    """For people: each finding with its line and a caret, and `ok` for a file without a mistake."""
    parts = []
    for file in report.files:
        parts += [str(finding) for finding in report.findings if finding.path == file]
        if file not in report.wrong:
            parts.append(printable(f"{file}: ok"))
    parts += [str(finding) for finding in report.findings if finding.path not in report.files]
    return "\n".join(parts)


def as_json(report: Report) -> str:
    """For programs; docs/ci.md says what the keys are. `version` changes when they do."""
    shown = {
        "version": 1,
        "errors": report.errors,
        "warnings": len(report.findings) - report.errors,
        "files": [{"path": file, "ok": file not in report.wrong} for file in report.files],
        "findings": [asdict(finding) for finding in report.findings],
    }
    return json.dumps(shown, indent=2, ensure_ascii=False)


def github(report: Report) -> str:
    """GitHub's workflow commands: each finding shows beside its line in the pull request."""
    return "\n".join(map(_annotation, report.findings))


def _annotation(finding: Finding) -> str:
    place = {"line": str(finding.line), "col": str(finding.column)} if finding.line else {}
    properties = {"file": finding.path, **place, "title": finding.code}
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    message = printable(finding.message) + (f"\n{finding.mend}" if finding.mend else "")
    return f"::{finding.severity} {told}::{_data(message)}"


def _data(value: str) -> str:
    """As GitHub's toolkit escapes what stands behind the `::`; the log is shown in terminals, too."""
    return printable(value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")
