"""What a model's graph says about an output: whether its values are confidences, or raw values that become some.

The formats name their operators differently; their readers translate each into an `Effect`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CONFIDENCES, RAW, UNKNOWN = "confidences", "raw", ""
"""What values are: made by a softmax or sigmoid; made by a layer without one; not told by the graph."""

PASSES_ON, SUM = "passes on", "sum"
"""What operators do besides: their output has the values of their inputs; it is the sum of them (a layer's bias)."""

_MOST_OPERATORS = 1000


@dataclass(frozen=True)
class Operator:
    """effect: `CONFIDENCES`, `RAW`, `PASSES_ON`, `SUM` or `UNKNOWN`. inputs: those whose values count, not sizes or
    indices."""

    effect: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Graph:
    """The operators of a model, found by the tensor that they make."""

    def __init__(self, operators: Iterable[Operator]) -> None:
        self._makers = {name: operator for operator in operators for name in operator.outputs}

    def values_of(self, tensor: str) -> str:
        """What the values of a tensor are: `CONFIDENCES`, `RAW` or `UNKNOWN`."""
        found: set[str] = set()
        # Each with whether it is part of a sum: a sum of raw values is raw, one of confidences is nothing known.
        waiting, seen = [(tensor, False)], set[tuple[str, bool]]()
        while waiting:
            name, in_sum = waiting.pop()
            if (name, in_sum) in seen:
                continue
            seen.add((name, in_sum))
            operator = self._makers.get(name)
            if operator is None or len(seen) > _MOST_OPERATORS:
                # A constant: it changes nothing in a sum, and is nothing known elsewhere.
                found |= set() if in_sum and operator is None else {UNKNOWN}
            elif operator.effect in (PASSES_ON, SUM):
                waiting += [(one, in_sum or operator.effect == SUM) for one in operator.inputs]
            else:
                found.add(UNKNOWN if in_sum and operator.effect != RAW else operator.effect)
        return found.pop() if len(found) == 1 else UNKNOWN
