"""Which results are published: by confidence, and optionally only when they change."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emflow_edge.outcome import reaches
from emflow_edge.results.message import Result
from emflow_schema.edge_config import Publish


@dataclass(frozen=True)
class _Passed:
    """The last result of a stream that passed: its classes, the settings that it is published with, and when it passed
    (monotonic seconds)."""

    sequence: int
    found: Any
    to: Publish
    arrived_at: float


class ResultFilter:
    """Filters results. Not thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._passed: dict[str, _Passed] = {}

    def passes(self, result: Result, to: Publish) -> bool:
        top = result.outcome.top
        if not reaches(top[0].confidence if top else 0.0, to.threshold):
            return False
        if not to.on_change:
            # When `on_change` is enabled later, the next result counts as a change.
            self._passed.clear()
            return True
        # With other settings, such as another topic, the next result counts as a change too.
        last, found, now = self._passed.get(result.stream), _found(result), self._clock()
        if last and (last.found, last.to) == (found, to) and not 0 < to.every.seconds <= now - last.arrived_at:
            return False
        self._passed[result.stream] = _Passed(result.sequence, found, to, now)
        return True

    def lost(self, result: Result) -> None:
        """A result that passed was not published: if it was the last of its stream, the next one counts as a change."""
        last = self._passed.get(result.stream)
        if last and last.sequence == result.sequence:
            del self._passed[result.stream]


def _found(result: Result) -> tuple[str, str, int | frozenset[int]]:
    """What is compared: version and model, and the detected classes or the best class."""
    outcome = result.outcome
    if outcome.detections is not None:
        return result.version, result.model_name, frozenset(one.index for one in outcome.detections)
    # A classifier always returns at least one class.
    return result.version, result.model_name, outcome.top[0].index
