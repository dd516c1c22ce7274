"""The figures of a board: those of its preset, and what the workflow says of it over them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from emflow.problems import Problem
from emflow.workflow.model import Board, Workflow

MACHINES = {"aarch64": "aarch64", "amd64": "x86_64"}
"""Greengrass's names of architectures to those of Linux."""
WITHOUT_BOARD = "for example: edge: {board: imx8mplus}; `emflow schema edge.board` explains it"


@dataclass(frozen=True)
class BoardFigures:
    """A board, with all of its figures.

    Args:
        name: of the lock file; empty where neither the workflow nor a preset has one.
        architecture: `aarch64` or `amd64`.
        python, glibc: two numbers with a dot.
        nucleus: `classic`, `lite`, or `any` for both.
        delegate: LiteRT's accelerator, as the agent's setting of this name.
        tflite: the distribution that runs TFLite models.
        packages: `bundled`, `image` or `both`.
        pipeline: for cameras; empty for none.
        provides: distributions of the image with their versions.
    """

    name: str
    architecture: str
    python: str
    glibc: str
    nucleus: str
    delegate: str
    tflite: str
    packages: str
    pipeline: str
    provides: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """For messages: `aarch64, Python 3.11, glibc 2.37`."""
        return f"{self.architecture}, Python {self.python}, glibc {self.glibc}"


@dataclass(frozen=True)
class Figure:
    """One figure of a preset, and where it is from."""

    value: str
    source: str


@cache
def preset(name: str) -> dict[str, Figure]:
    """A preset's figures by their keys in `edge.board`."""
    text = files("emflow.board").joinpath("presets", f"{name}.toml").read_text(encoding="utf-8")
    return {key: Figure(**figure) for key, figure in tomllib.loads(text).items()}


def figures_of(board: Board) -> BoardFigures:
    """The figures of a board whose keys fit together, as rule EM082 checks."""
    base = board.preset or f"generic-{board.architecture}"
    given = {key: value for key, value in asdict(board).items() if value is not None}
    made: dict[str, Any] = {key: given.get(key, figure.value) for key, figure in preset(base).items()}
    if board.provides and board.packages is None:
        made["packages"] = "both"
    return BoardFigures(name=board.name or board.preset or "", provides=dict(sorted(board.provides.items())), **made)


def board_of(workflow: Workflow) -> BoardFigures:
    """The figures of a workflow's board.

    Raises:
        Problem: the workflow says nothing about its board.
    """
    if workflow.edge.board is None:
        raise Problem("edge.board: the workflow does not say what its board is", mend=f"Add it, {WITHOUT_BOARD}.")
    return figures_of(workflow.edge.board)
