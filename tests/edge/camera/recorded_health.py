"""A camera with what belongs to it, and what it told of its health."""

from __future__ import annotations

import threading
from typing import Any

from emflow_edge.camera.frame import Frame
from emflow_edge.camera.reader import CameraReader, Credentials
from emflow_edge.metrics.counters import Counters
from emflow_schema.edge_config import Stream
from emflow_schema.units import Interval
from support import PATIENCE


class RecordedHealth:
    """What a source told of its camera's health, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def present(self, width: int, height: int, fps: float) -> None:
        self.told.append(f"present {width} x {height}")

    def absent(self, reason: str) -> None:
        self.told.append(f"absent: {reason}")

    def frozen(self) -> None:
        self.told.append("frozen")

    def black(self) -> None:
        self.told.append("black")

    def clear(self) -> None:
        self.told.append("clear")


class RunningCamera(CameraReader):
    """A camera with what belongs to it, for a test."""

    def __init__(self, url: str, provider: Credentials | None = None, **settings: Any) -> None:
        self.counters, self.stop, self.heard = Counters(), threading.Event(), RecordedHealth()
        stream = Stream("front", url, **{"every": Interval("0s"), **settings})
        super().__init__(stream, self.counters, self.stop, self.heard, provider)

    def __enter__(self) -> RunningCamera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        assert self.join(PATIENCE)

    def next(self, timeout: float = PATIENCE) -> Frame:
        frame = self.frames.take(timeout)
        self.cadence.mark_taken(frame.arrived_at, frame.number)
        return frame
