"""`emflow render`: recipe, bundle, deployment and configurations as files, without AWS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from emflow.cli.options import Var, VarFile, check_workflow, tell
from emflow.problems import Problem, UsageProblem
from emflow.recipes.documents import documents
from emflow.workflow.model import Workflow
from emflow.workflow.redaction import masked, without_passwords


def render(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The workflow file.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Where to write; build/<workflow's name> otherwise."),
    ] = None,
    component: Annotated[str | None, typer.Option(metavar="NAME", help="Only what belongs to this component.")] = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print the texts, and write nothing.")] = False,
    var: Var = None,
    var_file: VarFile = None,
) -> None:
    """Write what apply would send: recipe, bundle, deployment, configurations. No network, no credentials.

    The same workflow gives the same bytes. What only AWS knows stays open: `version: auto` shows as 1.0.0 (apply takes
    the next patch), `latest` as itself, and the account as <account>.
    """
    if stdout and output is not None:
        raise UsageProblem("--stdout and --output exclude each other", mend="give one of them")
    checked = check_workflow(file, var, var_file)
    tell(checked.warnings)
    workflow = checked.workflow
    made = documents(workflow, component)
    shown = {name: text for name, text in _shown(workflow, component).items() if isinstance(text, str)}
    secret = {name for name, text in shown.items() if text != made[name]}
    if stdout:
        for name, text in shown.items():
            typer.echo(f"# {name}\n{text}")
        if secret:
            typer.echo("emflow: passwords are shown as stars; in files, with -o, they stand as they are", err=True)
        return
    folder = output or Path("build", workflow.metadata.name)
    for name, content in made.items():
        path = folder / name
        _write(path, content.encode() if isinstance(content, str) else content, private=name in secret)
        typer.echo(path)
    if secret:
        typer.echo(f"emflow: there are passwords in {', '.join(sorted(secret))}: keep them to yourself", err=True)


def _shown(workflow: Workflow, component: str | None) -> dict[str, bytes | str]:
    """The documents with stars for passwords: in a value it is known how far one goes, in a text it is not."""
    safe = msgspec.convert(masked(msgspec.to_builtins(workflow)), Workflow)
    made = documents(safe, component)
    for name, text in made.items():
        if isinstance(text, str) and name.startswith("recipes/"):  # its template may have one, too
            made[name] = without_passwords(text)
    return made


def _write(path: Path, data: bytes, *, private: bool) -> None:
    """Write a file; a private one only for whoever runs this, from its first byte on."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if private:
            path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666), "wb") as file:
            file.write(data)
    except OSError as error:
        mend = "give another folder with -o"
        raise Problem(f"cannot be written: {error.strerror}", where=str(path), mend=mend) from error
