"""An edge component that notes what it accepts for publishing."""

from __future__ import annotations

from typing import Any

from emflow_edge.component import Component
from emflow_edge.results.message import Result


class RecordingComponent(Component):
    """What it accepts for publishing is noted."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.accepted: list[Result] = []
        super().__init__(*args, **options)

    def _emit(self, result: Result) -> None:
        self.accepted.append(result)
        super()._emit(result)
