"""`emflow validate`: checks workflow files, and reports every error with its position and how to fix it."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated

import click

from emflow.cli.formats import CheckReport, Format, format_report
from emflow.cli.options import Root, Var, VarFile
from emflow.cli.parameters import Argument, Option
from emflow.problems import Finding, UsageProblem, WorkflowProblem
from emflow.recipes.lint.context import Target
from emflow.workflow.load import Checked, inspect
from emflow.workflow.rules import cross_file
from emflow.workflow.rules.registry import NOTES
from emflow.workflow.source.document import MAX_FINDINGS
from emflow.workflow.variables.overrides import parse_assignments


def validate(
    files: Annotated[
        list[str] | None,
        Argument(metavar="FILE", help="Workflow files, or patterns such as 'workflows/**/*.yaml'."),
    ] = None,
    form: Annotated[
        Format, Option("--format", help="text for people, json for programs, github and sarif for CI.")
    ] = Format.TEXT,
    strict: Annotated[bool, Option("--strict", help="Exit with 2 on warnings too; not on EM079.")] = False,
    nucleus: Annotated[
        Target | None,
        Option(
            "--nucleus",
            help="The Greengrass nucleus on the devices; any: recipes have to work on both. Without it, what only the "
            "lite nucleus refuses is a warning.",
        ),
    ] = None,
    explain: Annotated[
        str | None,
        Option("--explain", metavar="CODE", help="Explain a code such as EM030; `all` lists all codes."),
    ] = None,
    var: Var = None,
    var_file: VarFile = None,
    root: Root = None,
) -> None:
    """Check workflow files: YAML, keys, types, rules, recipes; and the model and the labels, if those files exist.

    Exits with 2 when a file is wrong. No network, no credentials.
    """
    if explain is not None:
        click.echo(_explanation(explain))
        return
    if not files:
        raise UsageProblem("no file to check", where="emflow validate", mend="give one: emflow validate FILE…")
    from emflow.recipes import virtual_core

    overrides = parse_assignments(var or [])
    names, wrong, findings, checked = _expand_patterns(files), set[str](), list[Finding](), list[Checked]()
    for name in names:
        try:
            one = inspect(Path(name), overrides, var_file or (), root=root)
        except WorkflowProblem as problem:
            wrong.add(name)
            findings += problem.findings
            continue
        if not one.errors:
            checked.append(one)
        found = [*one.errors, *_check_recipes(one, nucleus)][:MAX_FINDINGS]
        if any(finding.severity == "error" for finding in found):
            wrong.add(name)
        findings += [*found, *one.warnings, *(() if one.errors else virtual_core.findings(one))]
    # A set: findings of a file that several workflows import are reported once.
    unique = tuple(sorted({*findings, *cross_file.findings(checked)}))
    text = format_report(form, CheckReport(tuple(names), frozenset(wrong), unique))
    if text:
        click.echo(text)
    if wrong or (strict and any(finding.code not in NOTES for finding in unique)):
        raise click.exceptions.Exit(2)


def _check_recipes(checked: Checked, nucleus: Target | None) -> list[Finding]:
    """The first findings of the recipes. Warnings do not take the place of errors that come after them."""
    from emflow.recipes.lint.findings import findings

    found: dict[str, list[Finding]] = {"error": [], "warning": []}
    for finding in findings(checked, nucleus):
        if len(found[finding.severity]) < MAX_FINDINGS:
            found[finding.severity].append(finding)
        if len(found["error"]) >= MAX_FINDINGS:
            break
    return [*found["error"], *found["warning"]]


def _expand_patterns(files: list[str]) -> list[str]:
    """The files, with patterns that no shell has expanded replaced by the files that match; every file once.

    Raises:
        UsageProblem: a pattern matches no file.
    """
    found: dict[str, None] = {}
    for file in files:
        if not glob.has_magic(file) or Path(file).exists():
            found[file] = None
            continue
        # Not Path.glob, which does not accept absolute patterns.
        matching = sorted(name for name in glob.glob(file, recursive=True) if Path(name).is_file())  # noqa: PTH207
        if not matching:
            raise UsageProblem(f"no file matches {file!r}", where="emflow validate", mend="check the pattern")
        found |= dict.fromkeys(matching)
    return list(found)


def _explanation(code: str) -> str:
    from emflow.workflow.schema_docs import explain, explanations

    if code.lower() == "all":
        suffixes = {"warning": " (warning)", "error": ""}
        return "\n".join(f"{each.code}  {each.title}{suffixes[each.severity]}" for each in explanations())
    return str(explain(code))
