"""What the runtimes' refusals have in common."""

from __future__ import annotations

from collections.abc import Sequence

from emflow_agent.problems import CannotLoad


def one_line(error: object) -> str:
    """A runtime's own words without their line breaks."""
    return " ".join(str(error).split())


def open_sizes(name: str, sizes: Sequence[str]) -> str:
    """Why a model cannot be loaded one of whose inputs may have any size; `?` is an open one."""
    return f"input '{name}' leaves sizes open: [{', '.join(sizes)}]; export the model with fixed ones"


def only_one(names: Sequence[str], wanted: str) -> list[str]:
    """The one model file of its kind, or nothing.

    Raises:
        CannotLoad: there are several, and nothing says which is meant.
    """
    if len(names) > 1:
        raise CannotLoad(f"it has to hold {wanted}; found: {', '.join(sorted(names))}")
    return list(names)
