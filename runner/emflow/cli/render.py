"""`emflow render`: recipe, bundle, deployment and configurations as files, without AWS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from emflow.cli.options import Var, VarFile, check_workflow, tell
from emflow.cli.output_files import write_rendered
from emflow.problems import UsageProblem
from emflow.recipes.render_output import documents
from emflow.workflow.model import Workflow
from emflow.workflow.redaction import concealed, masked, without_passwords


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

    What an earlier render wrote into the folder, and this one no longer makes, is removed (with --component, only what
    is that component's); .emflow-render there lists what is ours. Other files stay as they are.
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
    data = {name: content.encode() if isinstance(content, str) else content for name, content in made.items()}
    write_rendered(folder, data, secret, component)
    for name in made:
        typer.echo(folder / name)
    if secret:
        typer.echo(f"emflow: there are passwords in {', '.join(sorted(secret))}: keep them to yourself", err=True)


def _shown(workflow: Workflow, component: str | None) -> dict[str, bytes | str]:
    """The documents with stars for passwords: in a value it is known how far one goes, in a text it is not."""
    safe = msgspec.convert(masked(msgspec.to_builtins(workflow), variables=False), Workflow)
    made = documents(safe, component)
    for name, text in made.items():
        if isinstance(text, str):  # a recipe's template may have one in an address, too
            made[name] = without_passwords(text) if name.startswith("recipes/") else concealed(text)
    return made
