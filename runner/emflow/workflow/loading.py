"""From a file to a `Workflow`: text, variables, shape, types, rules, in this order; each step needs the one before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow import rules, shape
from emflow.workflow.document import Document, read
from emflow.workflow.model import Workflow
from emflow.workflow.variables import fill


def load(path: Path, vars: Mapping[str, str] = MappingProxyType({})) -> Workflow:  # noqa: A002 the file's own word
    """Read, fill in, check and type one workflow file.

    Args:
        path: the YAML file; relative paths in it start at its folder.
        vars: what `--var` gives; goes before the file's own `vars`.

    Raises:
        WorkflowProblem: everything that is wrong with it, each with its place in the file.
    """
    return build(read(path), vars, path.parent)


def build(document: Document, given: Mapping[str, str], folder: Path) -> Workflow:
    """A document that has been read, as a `Workflow`. Raises as `load` does."""
    values = fill(document, given)
    shapes = shape.findings(document, values)
    broken = [finding for _, finding in shapes if finding.code != shape.LIMIT]
    if broken:
        raise WorkflowProblem([finding for _, finding in shapes])
    try:
        workflow = msgspec.convert({**values, "folder": str(folder)}, Workflow)
    except msgspec.ValidationError as error:  # the schema lets through what the classes do not: tell it at least
        raise WorkflowProblem([Finding(document.path, 0, 0, "EM022", str(error))]) from None
    offences = list(rules.check(workflow))
    told = {offence.place for _, offence in offences}
    findings = [finding for place, finding in shapes if place not in told]
    findings += [
        document.finding(code, place, message + _came_from(document, place), mend)
        for code, (place, message, mend) in offences
    ]
    if findings:
        raise WorkflowProblem(findings)
    return workflow


def _came_from(document: Document, place: tuple[str | int, ...]) -> str:
    """The template that a wrong value came from: the mistake may be in the variable, not in this line."""
    written = document.written(place)
    return f" (from {written})" if "{{" in written else ""
