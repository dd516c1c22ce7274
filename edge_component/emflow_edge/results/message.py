"""One result: what a prediction said about a frame, and as one JSON message."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone

from emflow_edge.outcome import ClassScore, Outcome
from emflow_edge.settings.config import Settings
from emflow_schema.result_message import ResultMessage

_NOTHING = ClassScore(-1, None, 0.0)
"""Values of the workshop's keys when a detector found nothing."""


@dataclass(frozen=True)
class Result:
    """The result of one prediction.

    captured_at: Unix time of the frame in seconds; captured_monotonic: the same on the monotonic clock; predict_ms:
    duration of the Predict call, measured here; run: names the start of this process; settings: those that it was made
    under.
    """

    stream: str
    sequence: int
    captured_at: float
    captured_monotonic: float
    predict_ms: float
    model_name: str
    thing: str
    version: str
    outcome: Outcome
    run: str = ""
    settings: Settings | None = field(default=None, repr=False, compare=False)

    def age(self, now: float) -> float:
        """Seconds since its frame was captured, at monotonic time `now`."""
        return max(0.0, now - self.captured_monotonic)

    def message(self, now: float) -> str:
        """The JSON text, for sending at monotonic time `now`."""
        best = self.outcome.top[0] if self.outcome.top else _NOTHING
        return ResultMessage(
            index=best.index,
            confidence=best.confidence,
            predict_ms=self.predict_ms,
            model_name=self.model_name,
            label=best.label,
            top=self.outcome.top,
            detections=self.outcome.detections,
            stream=self.stream,
            frame_time=datetime.fromtimestamp(self.captured_at, timezone.utc),
            # By the monotonic clock: the other one may be set in between, when the network comes up.
            frame_age_ms=round(self.age(now) * 1000, 1),
            sequence=self.sequence,
            run=self.run or None,
            thing=self.thing,
            version=self.version,
        ).text()
