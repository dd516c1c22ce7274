"""From a file to a `Workflow`: text, variables, shape, types, rules, in this order; each step needs the one before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import msgspec

from emflow.problems import Finding, WorkflowProblem
from emflow.workflow import schema_errors
from emflow.workflow.model import Workflow
from emflow.workflow.rules import registry
from emflow.workflow.rules.secrets import passwords
from emflow.workflow.source.document import MOST_FINDINGS, Document
from emflow.workflow.source.imports import read_whole
from emflow.workflow.variables.overrides import Given, read_values
from emflow.workflow.variables.resolve import fill


@dataclass(frozen=True)
class Checked:
    """A workflow without a mistake, the document it came from, and what is worth a word all the same."""

    workflow: Workflow
    document: Document
    warnings: tuple[Finding, ...] = ()


def load(
    path: Path,
    vars: Mapping[str, str] = MappingProxyType({}),  # noqa: A002 the file's own word
    var_files: Sequence[Path] = (),
    environ: Mapping[str, str] | None = None,
) -> Workflow:
    """Read, fill in, check and type one workflow file.

    Args:
        path: the YAML file; relative paths in it, and in what it imports, start at its folder.
        vars: what `--var` gives; goes before everything else.
        var_files: YAML or JSON files of variables (`--var-file`), the last first; they go before the environment.
        environ: for EMFLOW_VAR_* and `env`, the process's own when None; goes before the file's own `vars`.

    Raises:
        WorkflowProblem: everything that is wrong with it, each with its place in its file.
    """
    return check(path, vars, var_files, environ).workflow


def check(
    path: Path,
    vars: Mapping[str, str] = MappingProxyType({}),  # noqa: A002
    var_files: Sequence[Path] = (),
    environ: Mapping[str, str] | None = None,
) -> Checked:
    """As `load`, with the warnings. Raises as `load` does; its findings hold the warnings then."""
    files = tuple(read_values(file) for file in var_files)
    given = Given(vars, files, os.environ if environ is None else environ)
    return build(read_whole(path), given, path.parent)


def build(document: Document, given: Given, folder: Path) -> Checked:
    """A document that has been read, as a `Workflow`. Raises as `load` does."""
    values = fill(document, given)
    shapes = schema_errors.findings(document, values)
    broken = [finding for _, finding in shapes if finding.code != schema_errors.LIMIT]
    if broken:
        raise WorkflowProblem([finding for _, finding in shapes])
    try:
        workflow = msgspec.convert({**values, "folder": str(folder)}, Workflow)
    except msgspec.ValidationError as error:  # the schema lets through what the classes do not: tell it at least
        raise WorkflowProblem([Finding(document.path, 0, 0, "EM022", str(error))]) from None
    warnings, errors = [], list(islice(passwords(document, workflow), MOST_FINDINGS))
    told = set()
    for code, (place, message, mend) in registry.check(workflow):
        finding = document.finding(code, place, message + _came_from(document, place), mend)
        if code in registry.WARNINGS:
            warnings.append(replace(finding, severity="warning"))
            continue
        errors.append(finding)
        told.add(place)
        if len(errors) >= MOST_FINDINGS:
            break
    errors += [finding for place, finding in shapes if place not in told]
    if errors:
        raise WorkflowProblem([*errors, *warnings][:MOST_FINDINGS])
    return Checked(workflow, document, tuple(sorted(warnings)))


def _came_from(document: Document, place: tuple[str | int, ...]) -> str:
    """The template that a wrong value came from: the mistake may be in the variable, not in this line."""
    written = document.written(place)
    return f" (from {written})" if "{{" in written else ""
