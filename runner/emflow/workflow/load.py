"""From a file to a `Workflow`, in five steps: YAML, variables, schema, types, rules.

Each works on what the one before has made of the file. What is wrong by then has no value for the later ones
(`partial`), so that one run reports all errors but those that depend on what is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from emflow.problems import Finding, Problem, WorkflowProblem
from emflow.workflow import schema_errors
from emflow.workflow.model import Workflow, convert
from emflow.workflow.rules import registry
from emflow.workflow.rules.secrets import passwords
from emflow.workflow.source.document import MAX_FINDINGS, Document
from emflow.workflow.source.imports import read_with_imports
from emflow.workflow.source.positions import KeyPath
from emflow.workflow.source.root import Root, check_named_by_user, refuse_missing
from emflow.workflow.variables.overrides import Overrides, read_variable_file
from emflow.workflow.variables.resolve import resolve_as_far_as_possible


@dataclass(frozen=True)
class Checked:
    """A workflow, the document it was read from, and what was found.

    Attributes:
        errors: of `inspect` only. With some, parts of the workflow may raise `partial.Unknown` when they are read.
        wrong: the key paths of the errors.
    """

    workflow: Workflow
    document: Document
    warnings: tuple[Finding, ...] = ()
    errors: tuple[Finding, ...] = ()
    wrong: frozenset[KeyPath] = frozenset()


def load(
    path: Path,
    vars: Mapping[str, str] = MappingProxyType({}),  # noqa: A002 the file's own word
    var_files: Sequence[Path] = (),
    environ: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> Workflow:
    """Read, check and type one workflow file.

    Args:
        path: the YAML file; relative paths in it, and in what it imports, start at its folder.
        vars: the assignments of `--var`; they override all other sources.
        var_files: YAML or JSON files of variables (`--var-file`); a later one overrides an earlier one, and all of
            them override the environment.
        environ: for EMFLOW_VAR_* and `env`, the process's own when None; overrides the file's own `vars`.
        root: the folder that has to have all files in it that the workflow names; its own folder when None.

    Raises:
        WorkflowProblem: all errors of the workflow, each with its position in its file.
    """
    return check(path, vars, var_files, environ, root).workflow


def check(
    path: Path,
    vars: Mapping[str, str] = MappingProxyType({}),  # noqa: A002
    var_files: Sequence[Path] = (),
    environ: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> Checked:
    """As `load`, with the warnings. Raises as `load` does; the error then holds the warnings too."""
    return _without_errors(inspect(path, vars, var_files, environ, root))


def inspect(
    path: Path,
    vars: Mapping[str, str] = MappingProxyType({}),  # noqa: A002
    var_files: Sequence[Path] = (),
    environ: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> Checked:
    """As `check`, but errors that leave something to check are in what is returned.

    Raises:
        UsageProblem: `root` is no folder.
        WorkflowProblem: the files are no YAML, or there are `MAX_FINDINGS` errors before the rules are checked.
    """
    refuse_missing(root)
    _refuse_links_out_of((path, *var_files), root)
    files = tuple(read_variable_file(file) for file in var_files)
    overrides = Overrides(vars, files, os.environ if environ is None else environ)
    folder = path.parent
    return _inspected(read_with_imports(path, Root(root or folder)), overrides, folder, root)


def _refuse_links_out_of(paths: Sequence[Path], root: Path | None) -> None:
    findings = []
    for path in paths:
        try:
            check_named_by_user(path, root)
        except Problem as problem:
            findings.append(Finding(str(path), 0, 0, "EM078", problem.what, problem.mend))
    if findings:
        raise WorkflowProblem(findings)


def build(document: Document, overrides: Overrides, folder: Path, root: Path | None = None) -> Checked:
    """A parsed document as a `Workflow`. Raises as `load` does.

    Args:
        folder: where relative paths in the document start.
        root: as for `load`.
    """
    return _without_errors(_inspected(document, overrides, folder, root))


def _without_errors(checked: Checked) -> Checked:
    if checked.errors:
        raise WorkflowProblem([*checked.errors, *checked.warnings][:MAX_FINDINGS])
    return checked


def _inspected(document: Document, overrides: Overrides, folder: Path, root: Path | None) -> Checked:
    resolved = resolve_as_far_as_possible(document, overrides)
    values = {**resolved.values, "folder": str(folder), "root": str(root or "")}
    schema_findings = [
        (key_path, finding)
        for key_path, finding in schema_errors.findings(document, resolved.values)
        if not any(_follows_from(key_path, unknown) for unknown in resolved.unknown)
    ]
    wrong = {key_path for key_path, finding in schema_findings if finding.code in schema_errors.UNUSABLE}
    misshapen = bool(resolved.unknown) or any(finding.code != schema_errors.LIMIT for _, finding in schema_findings)
    workflow, misfit = _workflow(values, wrong | resolved.unknown, misshapen=misshapen)
    errors = [*resolved.findings, *islice(passwords(document, workflow), MAX_FINDINGS)]
    if misfit and not (errors or wrong or schema_findings):  # the schema lets through what the classes do not
        errors.append(Finding(document.path, 0, 0, "EM022", misfit))
    warnings = []
    reported = set()
    for code, (key_path, message, mend) in registry.check(workflow):
        finding = document.finding(code, key_path, message + _template_source(document, key_path), mend)
        if code in registry.WARNINGS:
            warnings.append(replace(finding, severity="warning"))
            continue
        errors.append(finding)
        reported.add(key_path)
        if len(errors) >= MAX_FINDINGS:
            break
    errors += [finding for key_path, finding in schema_findings if key_path not in reported]
    wrong |= reported | resolved.unknown | {key_path for key_path, _ in schema_findings}
    return Checked(workflow, document, tuple(sorted(warnings)), tuple(errors), frozenset(wrong))


def _follows_from(key_path: KeyPath, unknown: KeyPath) -> bool:
    """Whether a schema error is only that a value could not be evaluated, or that a variable's name is not valid."""
    return key_path[: len(unknown)] == unknown or (key_path == ("vars",) and unknown[:1] == key_path)


def _workflow(values: Mapping[str, Any], wrong: Collection[KeyPath], *, misshapen: bool) -> tuple[Workflow, str]:
    """The values as a workflow, in part when some are wrong; and why the classes refuse it, if they do."""
    misfit = ""
    if not misshapen:
        try:
            return convert(values), ""
        except msgspec.ValidationError as error:
            misfit = str(error)
    from emflow.workflow.partial import partial_workflow

    return partial_workflow(values, wrong), misfit


def _template_source(document: Document, key_path: KeyPath) -> str:
    """The template that a wrong value came from: the error may be in the variable, not in this line."""
    source_text = document.source_text(key_path)
    return f" (from {source_text})" if "{{" in source_text else ""
