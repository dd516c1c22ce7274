"""One result as one JSON message: the workshop's four keys as text, ours beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from emflow_edge.timestamps import utc
from emflow_edge.vision.outcome import Choice, Detection, Outcome

_NOTHING = Choice(-1, None, 0.0)
"""What the workshop's keys say where a detector found nothing."""


@dataclass(frozen=True)
class Result:
    """What one Predict said about one frame.

    taken: Unix time of the frame in seconds; predict_ms: how long Predict took, seen from here.
    """

    stream: str
    sequence: int
    taken: float
    predict_ms: float
    model_name: str
    thing: str
    version: str
    outcome: Outcome

    def message(self, now: float) -> str:
        """The JSON text, for sending at Unix time `now`."""
        top, detections = self.outcome.top, self.outcome.detections
        best = top[0] if top else _NOTHING
        found = {} if detections is None else {"detections": [_thing(one) for one in detections]}
        return json.dumps(
            {
                "index": str(best.index),
                "confidence": f"{best.confidence:.4f}",
                "performance": f"{self.predict_ms:.2f}",
                "model_name": self.model_name,
                "label": best.label,
                "top": [_named(one) for one in top],
                **found,
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


def _named(one: Choice | Detection) -> dict[str, Any]:
    return {"index": one.index, "label": one.label, "confidence": round(one.confidence, 4)}


def _thing(one: Detection) -> dict[str, Any]:
    box = one.box
    places = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
    return {**_named(one), "box": {name: round(place, 4) for name, place in places.items()}}
