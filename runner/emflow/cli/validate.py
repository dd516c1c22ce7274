"""`emflow validate`: what is wrong with workflow files, each mistake with its place and what to do about it."""

from __future__ import annotations

import glob
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from emflow.cli.formats import Format, Report, show
from emflow.cli.options import Var, VarFile
from emflow.problems import Finding, UsageProblem, WorkflowProblem
from emflow.workflow.load import Checked, check
from emflow.workflow.rules import cross_file
from emflow.workflow.source.document import MOST_FINDINGS
from emflow.workflow.variables.resolve import assignments


def validate(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE", help="Workflow files, or patterns such as 'workflows/**/*.yaml'.", show_default=False
        ),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="text for people, json for programs, github and sarif for CI.")
    ] = Format.TEXT,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 on warnings too.")] = False,
    explain: Annotated[
        str | None,
        typer.Option("--explain", metavar="CODE", help="Say what a code such as EM030 means; `all` lists them."),
    ] = None,
    var: Var = None,
    var_file: VarFile = None,
) -> None:
    """Check workflow files: YAML, keys, types, rules, recipes, and the model and labels where they are there.

    Exits with 2 when any of them is wrong. No network, no credentials.
    """
    if explain is not None:
        typer.echo(_explained(explain))
        return
    if not files:
        raise UsageProblem("no file to check", where="emflow validate", mend="name one: emflow validate FILE…")
    given = assignments(var or [])
    names, wrong, findings, checked = _expanded(files), set[str](), list[Finding](), list[Checked]()
    for name in names:
        try:
            one = check(Path(name), given, var_file or ())
        except WorkflowProblem as problem:
            wrong.add(name)
            findings += problem.findings
            continue
        checked.append(one)
        findings += one.warnings
        faults = _recipes(one)
        if faults:
            wrong.add(name)
            findings += faults
    # What two files import is told once.
    told = tuple(sorted({*findings, *cross_file.findings(checked)}))
    shown = show(form, Report(tuple(names), frozenset(wrong), told))
    if shown:
        typer.echo(shown)
    if wrong or (strict and told):
        raise typer.Exit(2)


def _recipes(checked: Checked) -> list[Finding]:
    from emflow.recipes.lint.findings import findings

    return list(islice(findings(checked), MOST_FINDINGS))


def _expanded(files: list[str]) -> list[str]:
    """Patterns that no shell has expanded, each as the files that it fits; every file once.

    Raises:
        UsageProblem: a pattern fits no file.
    """
    found: dict[str, None] = {}
    for file in files:
        if not glob.has_magic(file) or Path(file).exists():
            found[file] = None
            continue
        # Not Path.glob: it takes no absolute pattern.
        fits = sorted(name for name in glob.glob(file, recursive=True) if Path(name).is_file())  # noqa: PTH207
        if not fits:
            raise UsageProblem(f"no file fits {file!r}", where="emflow validate", mend="check the pattern")
        found |= dict.fromkeys(fits)
    return list(found)


def _explained(code: str) -> str:
    from emflow.workflow.schema_docs import explain, explanations

    if code.lower() == "all":
        marks = {"warning": " (warning)", "error": ""}
        return "\n".join(f"{each.code}  {each.title}{marks[each.severity]}" for each in explanations())
    return str(explain(code))
