"""The workflow that `emflow init` begins with: answers to a few questions, as a commented YAML that validates."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import get_args, get_type_hints

from emflow.problems import Problem
from emflow.recipes.render import fill
from emflow.workflow.load import Checked, build
from emflow.workflow.model import Agent
from emflow.workflow.rules.files import check_model
from emflow.workflow.source.document import parse
from emflow.workflow.variables.overrides import Given

TEMPLATE = "workflow.yaml.j2"
PROVIDERS: tuple[str, ...] = get_args(get_type_hints(Agent)["provider"])
INPUTS: Mapping[str, tuple[int, ...]] = {"input": (1, 224, 224, 3)}
"""The workshop's model, for when there is no model to look into."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the workflow is to say. Paths start at the folder that it will lie in."""

    name: str = "my-workflow"
    provider: str = "edge-manager"
    target: str = "imx8mplus"
    region: str = "us-east-1"
    prefix: str = "my-unique-prefix"
    thing: str = "iMX8MPEVK-Core-001"
    camera: str = "rtspt://192.168.1.20/stream1"
    model: str = "models/mobilenet_v2_1.0_224_quant.tgz"
    labels: str = ""
    class_offset: int = 0
    topic: str = "em/inference"


def starting_workflow(answers: Answers, file: Path) -> str:
    """The workflow as YAML text.

    Args:
        file: where it is going to lie.

    Raises:
        Problem: the model is there and is none.
    """
    slug = _slug(answers.name)[:40].strip("-") or "workflow"
    values = {
        **asdict(answers),
        "file": file,
        "slug": slug,
        "model_name": _slug(Path(answers.model).name.partition(".")[0] if answers.model else "") or slug,
        "inputs": _inputs(Path(file.parent, answers.model)),
        "schema": _schema(file.parent),
    }
    return fill(_template(), values, TEMPLATE)


def check_start(text: str, file: Path) -> Checked:
    """See that the text is a workflow without a mistake.

    Raises:
        WorkflowProblem: an answer breaks a rule; its place is the one in the text.
    """
    return build(parse(str(file), text.encode()), Given(), file.parent)


def _inputs(path: Path) -> Mapping[str, tuple[int, ...]]:
    """What the model takes, when it is there: a size that it leaves open is one."""
    if not path.is_file():
        return INPUTS
    return {tensor.name: tuple(max(size, 1) for size in tensor.shape) for tensor in check_model(path).inputs}


def _slug(text: str) -> str:
    """A text as a name that SageMaker takes: letters and digits with dashes between them."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-")[:63].strip("-")


def _schema(folder: Path) -> str:
    """The schema's path from a folder, for editors; nothing where there is none, as on another drive."""
    schema = Path(str(files("emflow_schema").joinpath("workflow.schema.json")))
    try:
        return Path(os.path.relpath(schema.resolve(), folder.resolve())).as_posix() if schema.is_file() else ""
    except (OSError, ValueError):
        return ""


@cache
def _template() -> str:
    try:
        return files("emflow.recipes").joinpath("templates", TEMPLATE).read_text(encoding="utf-8")
    except OSError as error:
        raise Problem(f"emflow is not installed whole: {error}", mend="install it again") from error
