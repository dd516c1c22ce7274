"""`emflow init`: writes a commented workflow to start from; asks for what no option gives."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from emflow.cli.options import Root
from emflow.cli.output_files import write_atomically
from emflow.cli.parameters import Option
from emflow.cli.prompts import prompting
from emflow.problems import Problem, UsageProblem, WorkflowProblem, is_utf8, printable
from emflow.recipes.init_template import PROVIDERS, Answers, check_text, workflow_text
from emflow.workflow.source.root import refuse_missing

if TYPE_CHECKING:
    from emflow.workflow.load import Checked

QUESTIONS = {
    "name": "Name of the workflow",
    "prefix": "Prefix of the bucket names (unique in all of AWS)",
    "region": "AWS region",
    "target": "Board, by its SageMaker Neo name",
    "thing": "Thing name of the core device",
    "camera": "Address of the camera",
    "model": "Model: a .tflite, or a .tar.gz with one in it",
    "labels": "Labels, one a line (empty for none)",
    "topic": "MQTT topic for results",
}
DEFAULTS = Answers()


def init(
    output: Annotated[Path, Option("-o", "--output", metavar="FILE", help="The file to write.")] = Path(
        "workflow.yaml"
    ),
    name: Annotated[
        str | None,
        Option(metavar="NAME", help="The workflow's name, which is also the tag of all its resources."),
    ] = None,
    provider: Annotated[
        str | None, Option(metavar="PROVIDER", help=f"The agent that runs on the device: {', '.join(PROVIDERS)}.")
    ] = None,
    target: Annotated[
        str | None, Option(metavar="DEVICE", help=f"The board, by its Neo name. Default: {DEFAULTS.target}.")
    ] = None,
    region: Annotated[str | None, Option(metavar="REGION", help="The core device's AWS region.")] = None,
    prefix: Annotated[str | None, Option(metavar="PREFIX", help="Prefix of the bucket names.")] = None,
    thing: Annotated[str | None, Option(metavar="THING", help="The core device's thing name.")] = None,
    camera: Annotated[str | None, Option(metavar="URL", help="The camera's RTSP address.")] = None,
    model: Annotated[
        str | None, Option(metavar="PATH", help="The model; its inputs are read from the file if it exists.")
    ] = None,
    labels: Annotated[str | None, Option(metavar="PATH", help="The file of labels, one a line.")] = None,
    class_offset: Annotated[
        int | None,
        Option(min=0, metavar="N", help="How many outputs come before index 0, such as a background class."),
    ] = None,
    topic: Annotated[str | None, Option(metavar="TOPIC", help="The MQTT topic for results.")] = None,
    root: Root = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask; use the defaults.")] = False,
    force: Annotated[bool, Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented workflow. Asks for every value that no option gives; without a terminal, use --yes.

    Relative paths start at the file's folder.
    """
    if provider is not None and provider not in PROVIDERS:
        raise UsageProblem(
            f"{provider!r} is not a provider", where="--provider", mend=f"one of: {', '.join(PROVIDERS)}"
        )
    refuse_missing(root)
    if output.exists() and not force:
        raise UsageProblem(f"{output} exists", where="--output", mend="use another name, or overwrite it with --force")
    options: dict[str, Any] = {
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
    for option, value in options.items():
        if isinstance(value, str) and not is_utf8(value):
            raise UsageProblem(f"{value} is not UTF-8", where=f"--{option}", mend="a workflow is written in UTF-8")
    answers = dataclasses.replace(DEFAULTS, **{key: value for key, value in options.items() if value is not None})
    questions = [] if yes else [key for key in QUESTIONS if options[key] is None]
    if questions and not (sys.stdin.isatty() and sys.stdout.isatty()):
        missing = ", ".join(f"--{key}" for key in questions)
        raise UsageProblem(
            f"emflow init asks for what no option gives ({missing}), and there is no terminal to ask on",
            mend="Give these options, or accept the defaults: emflow init --yes",
        )
    if questions:
        _checked(workflow_text(answers, output), output, root)  # an answer cannot correct a wrong option
        with prompting("nothing was written"):
            answers = _ask(answers, questions, output, root)
    text = workflow_text(answers, output)
    checked = _checked(text, output, root)
    write_atomically(output, text.encode(), mend="use another file with --output", folder=True)
    steps = [f"{output} is written. Next steps:"]
    named = [key for key in (checked.workflow.cloud.model.artifact, checked.workflow.edge.model_io.labels) if key]
    absent = [path for path in (Path(output.parent, key) for key in named) if not path.is_file()]
    steps += [f"  put the file {path} there" for path in absent]
    file = f"{output} --root {root}" if root else str(output)
    steps.append(f"  emflow validate {file}")
    steps.append(f"  emflow up {file}       runs all of it on this machine")
    steps.append(f"  emflow plan {file}     shows what would change in your AWS account")
    for step in steps:
        click.echo(printable(step))


def _checked(text: str, output: Path, root: Path | None) -> Checked:
    """Check the workflow. Raises WorkflowProblem with the errors only: the warnings are for a file that is there."""
    try:
        return check_text(text, output, root)
    except WorkflowProblem as problem:
        errors = [finding for finding in problem.findings if finding.severity == "error"]
        raise WorkflowProblem(errors) from None


def _ask(answers: Answers, keys: list[str], output: Path, root: Path | None) -> Answers:
    """Ask for each of the keys; after an answer that breaks a rule, print the reason and ask again."""
    for key in keys:
        while True:
            answer = click.prompt(QUESTIONS[key], default=getattr(answers, key))
            candidate = dataclasses.replace(answers, **{key: answer.strip()})
            try:
                check_text(workflow_text(candidate, output), output, root)
            except WorkflowProblem as problem:
                # A value that is used several times has a finding for each use.
                finding = next(each for each in problem.findings if each.severity == "error")
                click.echo(f"  {finding.message}" + (f"; {finding.mend}" if finding.mend else ""), err=True)
            except Problem as problem:
                click.echo(f"  {problem}", err=True)
            else:
                answers = candidate
                break
    return answers
