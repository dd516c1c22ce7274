"""Where a model really runs, as its runtime reports it: what is logged, described and counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """What became of a model's nodes.

    Args:
        runtime: its name and version.
        accelerator: delegate or execution provider that runs `taken` of the graph's `nodes`; CPU where there is none.
        taken: number of nodes; None where the runtime does not tell.
        nodes: number of nodes of the graph; None where the runtime does not tell.
        instead_of: the accelerator that was asked for and is not there.
        beside: what runs nodes that the accelerator left, such as `XNNPACK 2`.
    """

    runtime: str
    accelerator: str = "CPU"
    taken: int | None = None
    nodes: int | None = None
    instead_of: str = ""
    beside: str = ""

    def __str__(self) -> str:
        share = ""
        if self.nodes is not None:
            share = f" {self.taken} of {self.nodes} nodes" if self.taken is not None else f" part of {self.nodes} nodes"
        beside = f", {self.beside}" if self.beside else ""
        instead = f", in place of {self.instead_of}" if self.instead_of else ""
        return f"{self.runtime}, {self.accelerator}{share}{beside}{instead}"
