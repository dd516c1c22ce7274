"""`emflow schema`: prints the workflow's JSON Schema for editors and validators, or explains one of its keys."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import click

import emflow_schema
from emflow.cli.parameters import Argument, Option
from emflow.problems import UsageProblem
from emflow.workflow.schema_docs import SCHEMA, Key, find


def schema(
    key: Annotated[
        str | None,
        Argument(metavar="KEY.PATH", help="A key to explain, such as edge.streams.every."),
    ] = None,
    header: Annotated[
        bool, Option("--header", help="Print the comment line that makes editors complete and check a workflow.")
    ] = False,
) -> None:
    """Print the JSON Schema (2020-12) of workflow files, or explain one key. No network, no credentials."""
    if header:
        if key:
            raise UsageProblem("--header and a key exclude each other", mend="use one of them")
        with resources.as_file(resources.files(emflow_schema) / f"{SCHEMA}.schema.json") as path:
            click.echo(f"# yaml-language-server: $schema={Path(path).resolve().as_uri()}")
    elif key is None:
        click.echo(emflow_schema.text(SCHEMA), nl=False)
    else:
        click.echo(explained(find(key)))


def explained(key: Key) -> str:
    """A key as text for a terminal."""
    fields = {
        "type": key.kind,
        "limits": key.limits,
        "required": "yes" if key.required else "",
        "default": key.default or "",
        "example": key.example,
        "holds": ", ".join(key.holds),
    }
    lines = [f"{key.path}: {key.title}", "", f"  {key.description}", ""]
    return "\n".join(lines + [f"  {f'{name}:':<10}{value}" for name, value in fields.items() if value])
