"""`emflow render`: writes recipe, bundle, deployment and configurations as files, without AWS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click

from emflow.cli.options import File, Root, Var, VarFile, check_workflow, print_warnings
from emflow.cli.output_files import write_render_folder
from emflow.cli.parameters import Option
from emflow.problems import UsageProblem, printable
from emflow.recipes.render_output import rendered_files
from emflow.workflow.model import Workflow, convert, plain_values
from emflow.workflow.redaction import mask_secret_values, masked, without_passwords


def render(
    file: File,
    output: Annotated[
        Path | None,
        Option("-o", "--output", metavar="DIR", help="The folder to write to. Default: build/<workflow's name>."),
    ] = None,
    component: Annotated[str | None, Option(metavar="NAME", help="Only the files of this component.")] = None,
    stdout: Annotated[bool, Option("--stdout", help="Print the text files instead of writing files.")] = False,
    var: Var = None,
    var_file: VarFile = None,
    root: Root = None,
) -> None:
    """Write what apply would send to AWS: recipe, bundle, deployment, configurations. No network, no credentials.

    The same workflow gives the same bytes. Values that only AWS knows are not resolved: `version: auto` is written as
    1.0.0 (apply takes the next patch version), `latest` as itself, and the account as <account>.

    Files of an earlier render that are no longer part of the output are removed (with --component, only those of that
    component). The file .emflow-render lists them; other files in the folder are never changed.
    """
    if stdout and output is not None:
        raise UsageProblem("--stdout and --output exclude each other", mend="give one of them")
    checked = check_workflow(file, var, var_file, root)
    print_warnings(checked.warnings)
    workflow = checked.workflow
    files = rendered_files(workflow, component)
    shown = {name: text for name, text in _shown(workflow, component).items() if isinstance(text, str)}
    secret = {name for name, text in shown.items() if text != files[name]}
    if stdout:
        for name, text in shown.items():
            click.echo(f"# {name}\n{text}")
        if secret:
            click.echo("emflow: passwords are shown as ***; files written with -o contain them", err=True)
        return
    folder = output or Path("build", workflow.metadata.name)
    data = {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}
    write_render_folder(folder, data, secret, component)
    for name in files:
        click.echo(printable(str(folder / name)))
    if secret:
        click.echo(f"emflow: these files contain passwords, keep them secret: {', '.join(sorted(secret))}", err=True)


def _shown(workflow: Workflow, component: str | None) -> dict[str, bytes | str]:
    """The documents with stars for passwords: in a value it is known how far one goes, in a text it is not."""
    safe = convert(masked(plain_values(workflow), variables=False))
    files = rendered_files(safe, component)
    for name, text in files.items():
        if isinstance(text, str):  # a recipe's template may have one in an address, too
            files[name] = without_passwords(text) if name.startswith("recipes/") else mask_secret_values(text)
    return files
