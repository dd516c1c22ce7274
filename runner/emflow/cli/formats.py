"""Findings as text, JSON and GitHub annotations; `sarif` is the module beside this one.

A format takes the report of a check, and gives what is printed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emflow import __version__
from emflow.problems import Finding, printable
from emflow.workflow.schema_docs import Explanation, explanations

# Findings as SARIF 2.1.0, which GitHub code scanning and many editors read.


SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(findings: Sequence[Finding]) -> str:
    """One run, with every rule that there is, and a result for each finding."""
    rules = list(explanations())
    numbers = {rule.code: number for number, rule in enumerate(rules)}
    driver = {"name": "emflow", "semanticVersion": __version__, "rules": [_rule(rule) for rule in rules]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, numbers) for finding in findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _rule(rule: Explanation) -> dict[str, Any]:
    return {
        "id": rule.code,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why or rule.title},
        "help": {"text": str(rule)},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(finding: Finding, numbers: dict[str, int]) -> dict[str, Any]:
    message = f"{finding.message}\n{finding.mend}" if finding.mend else finding.message
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.path)}}
    if finding.line:
        place["region"] = {"startLine": finding.line, "startColumn": finding.column}
    return {
        "ruleId": finding.code,
        **({"ruleIndex": numbers[finding.code]} if finding.code in numbers else {}),
        "level": finding.severity,
        "message": {"text": message},
        "locations": [{"physicalLocation": place}],
    }


def _uri(path: str) -> str:
    """Relative to where emflow runs, which in CI is the repository; so that the uploaded report fits its files."""
    given = Path(path)
    if given.is_absolute() and given.is_relative_to(Path.cwd()):
        given = given.relative_to(Path.cwd())
    return given.as_uri() if given.is_absolute() else quote(given.as_posix())


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
