"""`emflow init`: a commented workflow to start from, by asking or by flags."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from emflow.cli.options import asking
from emflow.cli.output_files import write_whole
from emflow.problems import Problem, UsageProblem, WorkflowProblem
from emflow.recipes.init_template import PROVIDERS, Answers, check_start, starting_workflow

QUESTIONS = {
    "name": "Name of the workflow",
    "prefix": "What the buckets' names begin with (unique in all of AWS)",
    "region": "AWS region",
    "target": "Board, as SageMaker Neo calls it",
    "thing": "Thing name of the core device",
    "camera": "Address of the camera",
    "model": "Model: a .tflite, or a .tar.gz with one in it",
    "labels": "Labels, one a line (empty for none)",
    "topic": "MQTT topic for results",
}
USUAL = Answers()


def init(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write.")] = Path(
        "workflow.yaml"
    ),
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The workflow's name; it tags everything that is made.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="PROVIDER", help=f"Whose agent runs on the device: {', '.join(PROVIDERS)}.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="DEVICE", help=f"The board, as Neo calls it; {USUAL.target} otherwise.")
    ] = None,
    region: Annotated[str | None, typer.Option(metavar="REGION", help="The core device's AWS region.")] = None,
    prefix: Annotated[str | None, typer.Option(metavar="PREFIX", help="What the buckets' names begin with.")] = None,
    thing: Annotated[str | None, typer.Option(metavar="THING", help="The core device's thing name.")] = None,
    camera: Annotated[str | None, typer.Option(metavar="URL", help="The camera's RTSP address.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="PATH", help="The model; its inputs are read from it when it is there.")
    ] = None,
    labels: Annotated[str | None, typer.Option(metavar="PATH", help="The labels, one a line.")] = None,
    class_offset: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="How many outputs (a background class) come before index 0.")
    ] = None,
    topic: Annotated[str | None, typer.Option(metavar="TOPIC", help="The MQTT topic for results.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; what is not given is as usual.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file when it is there.")] = False,
) -> None:
    """Write a commented workflow. It asks for what no flag gives; where there is no terminal, say --yes.

    Paths start at the file's folder.
    """
    if provider is not None and provider not in PROVIDERS:
        raise UsageProblem(f"{provider!r} is no provider", where="--provider", mend=f"one of: {', '.join(PROVIDERS)}")
    if output.exists() and not force:
        raise UsageProblem(f"{output} exists", where="--output", mend="give another name, or overwrite it with --force")
    flags: dict[str, Any] = {
        "name": name,
        "provider": provider,
        "target": target,
        "region": region,
        "prefix": prefix,
        "thing": thing,
        "camera": camera,
        "model": model,
        "labels": labels,
        "class_offset": class_offset,
        "topic": topic,
    }
    answers = dataclasses.replace(USUAL, **{key: value for key, value in flags.items() if value is not None})
    asked = [] if yes else [key for key in QUESTIONS if flags[key] is None]
    if asked and not (sys.stdin.isatty() and sys.stdout.isatty()):
        missing = ", ".join(f"--{key}" for key in asked)
        raise UsageProblem(
            f"emflow init asks for what no flag gives ({missing}), and there is no terminal to ask on",
            mend="Give them, or take the usual for each: emflow init --yes",
        )
    if asked:
        check_start(starting_workflow(answers, output), output)  # no answer mends a flag
        with asking("nothing was written"):
            answers = _ask(answers, asked, output)
    text = starting_workflow(answers, output)
    checked = check_start(text, output)
    write_whole(output, text.encode(), mend="give another place with --output", folder=True)
    typer.echo(f"{output} is written. Next:")
    for key in (checked.workflow.cloud.model.artifact, checked.workflow.edge.model_io.labels):
        if key and not Path(output.parent, key).is_file():
            typer.echo(f"  put the file {Path(output.parent, key)} there")
    typer.echo(f"  emflow validate {output}")
    typer.echo(f"  emflow up {output}       all of it on this machine")
    typer.echo(f"  emflow plan {output}     against your AWS account")


def _ask(answers: Answers, keys: list[str], output: Path) -> Answers:
    """Ask for each of the keys; an answer that breaks a rule is asked for again, with the reason."""
    for key in keys:
        while True:
            given = typer.prompt(QUESTIONS[key], default=getattr(answers, key))
            tried = dataclasses.replace(answers, **{key: given.strip()})
            try:
                check_start(starting_workflow(tried, output), output)
            except WorkflowProblem as problem:
                # One value may stand in several places, and be told at each.
                finding = next(each for each in problem.findings if each.severity == "error")
                typer.echo(f"  {finding.message}" + (f"; {finding.mend}" if finding.mend else ""), err=True)
            except Problem as problem:
                typer.echo(f"  {problem}", err=True)
            else:
                answers = tried
                break
    return answers
