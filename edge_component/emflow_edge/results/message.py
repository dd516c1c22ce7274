"""One result as one JSON message: the workshop's four keys as text, ours beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone

from emflow_edge.vision.decode import Choice


@dataclass(frozen=True)
class Result:
    """What one Predict said about one frame.

    taken: Unix time of the frame in seconds; predict_ms: how long Predict took, seen from here; top: best first.
    """

    stream: str
    sequence: int
    taken: float
    predict_ms: float
    model_name: str
    thing: str
    version: str
    top: tuple[Choice, ...]

    def message(self, now: float) -> str:
        """The JSON text, for sending at Unix time `now`."""
        best = self.top[0]
        return json.dumps(
            {
                "index": str(best.index),
                "confidence": f"{best.confidence:.4f}",
                "performance": f"{self.predict_ms:.2f}",
                "model_name": self.model_name,
                "label": best.label,
                "top": [
                    {"index": one.index, "label": one.label, "confidence": round(one.confidence, 4)} for one in self.top
                ],
                "stream": self.stream,
                "frame_time": utc(self.taken),
                # A clock that was set back in between must not make a frame from the future.
                "frame_age_ms": round(max(0.0, now - self.taken) * 1000, 1),
                "sequence": self.sequence,
                "thing": self.thing,
                "version": self.version,
            },
            ensure_ascii=False,
        )


def utc(unix_time: float) -> str:
    """A moment as `2026-01-02T03:04:05.678Z`."""
    moment = datetime.fromtimestamp(unix_time, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
