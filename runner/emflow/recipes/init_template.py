"""The workflow that `emflow init` writes: a commented YAML, from the answers to a few questions."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import get_args, get_type_hints

from emflow.problems import Problem, is_utf8, printable
from emflow.recipes.render import render_template
from emflow.workflow.load import Checked, build
from emflow.workflow.model import Agent
from emflow.workflow.rules.files import check_model
from emflow.workflow.source.document import parse
from emflow.workflow.variables.overrides import Overrides

TEMPLATE = "workflow.yaml.j2"
PROVIDERS: tuple[str, ...] = get_args(get_type_hints(Agent)["provider"])
DEFAULT_INPUTS: Mapping[str, tuple[int, ...]] = {"input": (1, 224, 224, 3)}
"""The inputs of the workshop's model, for a model file that does not exist yet."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The values of the new workflow. Relative paths start at its folder."""

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


def workflow_text(answers: Answers, file: Path) -> str:
    """The workflow as YAML text.

    Args:
        file: the path that it will be written to.

    Raises:
        Problem: the model file exists, and is not a model.
    """
    slug = _slug(answers.name)[:40].strip("-") or "workflow"
    values = {
        **asdict(answers),
        "file": printable(str(file)),
        "slug": slug,
        "model_name": _slug(Path(answers.model).name.partition(".")[0] if answers.model else "") or slug,
        "inputs": _inputs(Path(file.parent, answers.model)),
        "schema": _schema(file.parent),
    }
    return render_template(_template(), values, TEMPLATE)


def check_text(text: str, file: Path, root: Path | None = None) -> Checked:
    """Check the text of a new workflow. `root`: the folder that may have its files; its own where it is None.

    Raises:
        WorkflowProblem: an answer breaks a rule; positions are those in the text.
    """
    return build(parse(str(file), text.encode()), Overrides(), file.parent, root)


def _inputs(path: Path) -> Mapping[str, tuple[int, ...]]:
    """The inputs of the model, if the file exists; a size that the model leaves open becomes 1."""
    if not path.is_file():
        return DEFAULT_INPUTS
    return {tensor.name: tuple(max(size, 1) for size in tensor.shape) for tensor in check_model(path).inputs}


def _slug(text: str) -> str:
    """A text as a name that SageMaker accepts: letters and digits with dashes between them."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-")[:63].strip("-")


def _schema(folder: Path) -> str:
    """The path from a folder to the JSON Schema, for editors; empty when there is none, as on another drive."""
    schema = Path(str(files("emflow_schema").joinpath("workflow.schema.json")))
    try:
        path = Path(os.path.relpath(schema.resolve(), folder.resolve())).as_posix()
        return path if schema.is_file() and is_utf8(path) else ""
    except (OSError, ValueError):
        return ""


@cache
def _template() -> str:
    try:
        return files("emflow.recipes").joinpath("templates", TEMPLATE).read_text(encoding="utf-8")
    except OSError as error:
        raise Problem(f"emflow is not completely installed: {error}", mend="install it again") from error
