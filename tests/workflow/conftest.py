"""A small workflow that is right, to be broken in one place at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow import load

MARK = "§"

SMALL = """\
apiVersion: emflow/v1
kind: Workflow
metadata: {name: small}
vars:
  prefix: acme
  thing: Core-001
cloud:
  buckets:
    inference_results: {name: "{{ vars.prefix }}-sagemaker-results"}
    components: {name: "{{ vars.prefix }}-components"}
  fleet:
    devices: ["{{ vars.thing }}"]
  model:
    name: scenes
    artifact: scenes.tflite
    inputs: {input: [1, 224, 224, 3]}
  compile: {job: scenes-compiled}
  package:
    job: scenes-packaged
    component: {name: scenes_component}
  deployment:
    target: {thing: "{{ vars.thing }}"}
edge:
  streams:
    - {name: front, url: rtsp://camera/stream}
  capture:
    enabled: false
"""


def mistakes(problem: WorkflowProblem) -> tuple[Finding, ...]:
    """Without the warnings, which most small workflows get."""
    return tuple(finding for finding in problem.findings if finding.severity == "error")


@dataclass(frozen=True)
class Broken:
    """A workflow file with one mistake in it, and what loading it says."""

    path: Path
    text: str
    findings: tuple[Finding, ...]
    marked: tuple[int, int] = (0, 0)

    @property
    def finding(self) -> Finding:
        assert len(self.findings) == 1, "\n".join(map(str, self.findings))
        return self.findings[0]

    @property
    def place(self) -> tuple[int, int]:
        return self.finding.line, self.finding.column

    def at(self, words: str, skip: int = 0) -> tuple[int, int]:
        """Line and column, from 1, of some words of the file; the first time, or after `skip` times."""
        index = -1
        for _ in range(skip + 1):
            index = self.text.index(words, index + 1)
        return _place(self.text, index)


def _place(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Callable[..., Broken]:
    """The small workflow with `old` replaced by `new`, loaded in vain. A § marks where the finding should be."""

    def make(old: str, new: str, **given: str) -> Broken:
        assert old in SMALL
        text = SMALL.replace(old, new)
        marked = _place(text, text.index(MARK)) if MARK in text else (0, 0)
        text = text.replace(MARK, "")
        path = tmp_path / "broken.yaml"
        path.write_text(text)
        with pytest.raises(WorkflowProblem) as raised:
            load(path, given)
        return Broken(path, text, mistakes(raised.value), marked)

    return make


@pytest.fixture
def broken_text(tmp_path: Path) -> Callable[[str | bytes], Broken]:
    """Any text, loaded in vain."""

    def make(text: str | bytes) -> Broken:
        path = tmp_path / "broken.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(WorkflowProblem) as raised:
            load(path)
        return Broken(path, text if isinstance(text, str) else "", mistakes(raised.value))

    return make
