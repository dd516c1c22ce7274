"""Formats the findings of `emflow validate`: text, JSON, GitHub annotations, and SARIF 2.1.0 for code scanning."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emflow import __version__
from emflow.json_text import to_json
from emflow.problems import Finding, printable
from emflow.workflow.schema_docs import Explanation, explanations

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

INFORMATION = "urn:emflow:rules"
"""Names what docs/rules.md has, for copies of emflow whose metadata gives no address."""


def sarif(findings: Sequence[Finding]) -> str:
    """SARIF, which GitHub code scanning and many editors read: all rules, and a result for each finding."""
    rules = list(explanations())
    rule_indices = {rule.code: number for number, rule in enumerate(rules)}
    driver = {
        "name": "emflow",
        "semanticVersion": __version__,
        "informationUri": _information_uri(),
        "rules": [_sarif_rule(rule) for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_sarif_result(finding, rule_indices) for finding in findings],
    }
    return to_json({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ascii_only=False)


def _information_uri() -> str:
    """Where to read about emflow: the first address in the metadata of the installed distribution, or a name for it."""
    try:
        addresses = metadata("emflow-runner").get_all("Project-URL") or ()
    except PackageNotFoundError:  # run from its sources
        addresses = ()
    found = [address.partition(", ")[2] for address in addresses]
    return next((address for address in found if address), INFORMATION)


def _sarif_rule(rule: Explanation) -> dict[str, Any]:
    return {
        "id": rule.code,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why or rule.title},
        "help": {"text": str(rule)},
        "defaultConfiguration": {"level": rule.severity},
    }


def _sarif_result(finding: Finding, rule_indices: dict[str, int]) -> dict[str, Any]:
    message = f"{finding.message}\n{finding.mend}" if finding.mend else finding.message
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.path)}}
    if finding.line:
        location["region"] = {"startLine": finding.line, "startColumn": finding.column}
    return {
        "ruleId": finding.code,
        **({"ruleIndex": rule_indices[finding.code]} if finding.code in rule_indices else {}),
        "level": finding.severity,
        "message": {"text": message},
        "locations": [{"physicalLocation": location}],
    }


def _uri(path: str) -> str:
    """The file's URI, relative to the working directory, which in CI is the repository that the report belongs to."""
    file = Path(path)
    if file.is_absolute() and file.is_relative_to(Path.cwd()):
        file = file.relative_to(Path.cwd())
    # The bytes of the name, which may be no UTF-8: a URI has a way to write any byte.
    return file.as_uri() if file.is_absolute() else quote(os.fsencode(file.as_posix()))


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


@dataclass(frozen=True)
class CheckReport:
    """The result of a check of several files.

    Attributes:
        files: the checked files, in the order of the command line.
        wrong: those of them that have errors.
        findings: also those in files that a checked file imports.
    """

    files: tuple[str, ...]
    wrong: frozenset[str]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)


def format_report(form: Format, report: CheckReport) -> str:
    """The report as text in one of the formats."""
    if form is Format.SARIF:
        return sarif(report.findings)
    formatters: dict[Format, Callable[[CheckReport], str]] = {
        Format.TEXT: text,
        Format.JSON: as_json,
        Format.GITHUB: github,
    }
    return formatters[form](report)


def text(report: CheckReport) -> str:
    """For people: each finding with its line and a caret, and `ok` for each file without errors."""
    parts = []
    for file in report.files:
        parts += [str(finding) for finding in report.findings if finding.path == file]
        if file not in report.wrong:
            parts.append(printable(f"{file}: ok"))
    parts += [str(finding) for finding in report.findings if finding.path not in report.files]
    return "\n".join(parts)


def as_json(report: CheckReport) -> str:
    """For programs; docs/ci.md documents the keys. `version` changes when their meaning does."""
    data = {
        "version": 1,
        "errors": report.errors,
        "warnings": len(report.findings) - report.errors,
        "files": [{"path": file, "ok": file not in report.wrong} for file in report.files],
        "findings": [asdict(finding) for finding in report.findings],
    }
    return to_json(data, indent=2, ascii_only=False)


def github(report: CheckReport) -> str:
    """GitHub's workflow commands: each finding is shown beside its line in the pull request."""
    return "\n".join(map(_annotation, report.findings))


def _annotation(finding: Finding) -> str:
    position = {"line": str(finding.line), "col": str(finding.column)} if finding.line else {}
    properties = {"file": finding.path, **position, "title": finding.code}
    parameters = ",".join(f"{name}={_escape_property(value)}" for name, value in properties.items())
    message = printable(finding.message) + (f"\n{finding.mend}" if finding.mend else "")
    return f"::{finding.severity} {parameters}::{_escape_data(message)}"


def _escape_data(value: str) -> str:
    """Escape the text after `::` as GitHub's toolkit does; also for terminals, which may show the log."""
    return printable(value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _escape_property(value: str) -> str:
    return _escape_data(value).replace(":", "%3A").replace(",", "%2C")
