"""A folder of workflows with one mistake each: every one is refused with the right code, at the right place.

The first line of each file in `broken` says what is expected: `# CODE LINE:COLUMN`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from emflow.problems import Finding, WorkflowProblem
from emflow.recipes.lint.findings import findings
from emflow.workflow.load import check
from emflow.workflow.rules.registry import CODES, RULES, WARNINGS

ROOT = Path(__file__).parents[2]
BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))

ELSEWHERE = {
    "EM001": "needs a file that is not there",
    "EM002": "is reported before a first line could be read",
    "EM003": "has no line",
    "EM013": "needs a command line",
    "EM014": "needs a command line",
}
"""Codes that no file of this folder can carry; they have tests of their own."""


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_workflow_is_refused_with_its_code_at_its_position(path: Path) -> None:
    expected = re.fullmatch(r"# (EM\d{3}) (\d+):(\d+)", path.read_text().splitlines()[0])
    assert expected, "the first line has to say what is expected"
    messages = [finding for finding in findings_of(path) if finding.severity == "error"]
    assert [(f.code, f.line, f.column) for f in messages] == [(expected[1], int(expected[2]), int(expected[3]))]
    assert path.stem.startswith(expected[1])


def findings_of(path: Path) -> tuple[Finding, ...]:
    """All that `emflow validate` says of one file."""
    try:
        checked = check(path, root=ROOT)
    except WorkflowProblem as problem:
        return problem.findings
    return (*checked.warnings, *findings(checked))


def test_the_folder_has_something_for_every_code() -> None:
    assert len(BROKEN) >= 60
    shown = {path.stem[:5] for path in BROKEN}
    assert set(CODES) - WARNINGS - shown - set(ELSEWHERE) == set()
    assert {code for code, _ in RULES} - WARNINGS <= shown
