"""Where a model actually runs, as its runtime reports it; for the log and the metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """Which device runs how many nodes of a model.

    Args:
        runtime: its name and version.
        accelerator: delegate or execution provider that runs `taken` of the `nodes`; CPU without one.
        taken: number of nodes on the accelerator; None where the runtime does not report it.
        nodes: number of nodes in the graph; None where the runtime does not report it.
        instead_of: the requested accelerator that is not used.
        beside: what runs the remaining nodes, such as `XNNPACK 2`.
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
        instead = f" instead of {self.instead_of}" if self.instead_of else ""
        return f"{self.runtime}, {self.accelerator}{share}{beside}{instead}"
