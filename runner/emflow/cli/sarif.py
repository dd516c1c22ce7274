"""Findings as SARIF 2.1.0, which GitHub code scanning and many editors read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emflow import __version__
from emflow.problems import Finding
from emflow.workflow.explain import Explanation, explanations

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
