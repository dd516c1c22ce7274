"""One result over MQTT: what the model saw in one frame, as the device writes it and as everybody reads it.

The workshop's four keys are texts (`index`, `confidence`, `performance`, `model_name`), and all that its own client
sends; ours come beside them. `result.schema.json` is the same for other readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from emflow_schema.json_text import json_text

BYTES_A_DETECTION, BYTES_A_RESULT = 115, 1000
"""About what one detection takes in a message, and what is around them."""

MOST_BYTES, MOST_BYTES_LITE = 128 << 10, 7300
"""Of a message: AWS IoT's limit, https://docs.aws.amazon.com/general/latest/gr/iot-core.html#limits_iot, and about that
of the lite nucleus, as seen on its version 2.6.0. Larger ones are not published."""


def most_detections(bytes_of_a_message: int) -> int:
    """About how many detections fit into a message."""
    return max(0, bytes_of_a_message - BYTES_A_RESULT) // BYTES_A_DETECTION


@dataclass(frozen=True)
class Class:
    """One class the model knows, and how likely it is, from 0 to 1.

    index: without the classes before the offset, so the background has -1. label: None where there are no labels.
    """

    index: int
    label: str | None
    confidence: float


@dataclass(frozen=True)
class Box:
    """A place in the frame: fractions of its width and height, from its top left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Detection(Class):
    """One thing that a detector found."""

    box: Box


@dataclass(frozen=True)
class ResultMessage:
    """What the model saw in one frame.

    The first four are in every message; the others are None (or empty) in one from the workshop's own client.

    index, confidence, label: of the best class, or -1, 0 and None where a detector found nothing.
    predict_ms: how long the Predict call took, seen from the component. top: the best classes, best first.
    detections: None where the model only names the whole picture; otherwise best first, and none is an answer too.
    frame_time: with its time zone, written as UTC. frame_age_ms: at publishing.
    sequence: counts the results of a stream name from 0, from each start of the component; run: names that start.
    """

    index: int
    confidence: float
    predict_ms: float
    model_name: str
    label: str | None = None
    top: tuple[Class, ...] = ()
    detections: tuple[Detection, ...] | None = None
    stream: str | None = None
    frame_time: datetime | None = None
    frame_age_ms: float | None = None
    sequence: int | None = None
    thing: str | None = None
    version: str | None = None
    run: str | None = None

    def text(self) -> str:
        """As JSON. What is None is left out, but for the label; probabilities and places have four decimals.

        Raises:
            NonFiniteNumber: a number is NaN or infinite, which no decoder of the component lets through.
        """
        ours = {
            "label": self.label,
            "top": [_class(one) for one in self.top],
            "detections": None if self.detections is None else [_detection(one) for one in self.detections],
            "stream": self.stream,
            "frame_time": _time(self.frame_time) if self.frame_time else None,
            "frame_age_ms": self.frame_age_ms,
            "sequence": self.sequence,
            "run": self.run,
            "thing": self.thing,
            "version": self.version,
        }
        workshop = {
            "index": str(self.index),
            "confidence": f"{self.confidence:.4f}",
            "performance": f"{self.predict_ms:.2f}",
            "model_name": self.model_name,
        }
        said = {key: value for key, value in ours.items() if value is not None or key == "label"}
        return json_text({**workshop, **said})


def fields_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `ResultMessage` out of a message that keeps to `result.schema.json`.

    Raises:
        ValueError: its time is none that a calendar has.
    """
    taken, found = data.get("frame_time"), data.get("detections")
    return {
        "index": int(data["index"]),
        "confidence": float(data["confidence"]),
        "predict_ms": float(data["performance"]),
        "model_name": data["model_name"],
        "label": data.get("label"),
        "top": tuple(Class(**one) for one in data.get("top", ())),
        "detections": None if found is None else tuple(Detection(**{**one, "box": Box(**one["box"])}) for one in found),
        "stream": data.get("stream"),
        "frame_time": datetime.fromisoformat(taken.replace("Z", "+00:00")) if taken else None,
        "frame_age_ms": data.get("frame_age_ms"),
        "sequence": data.get("sequence"),
        "run": data.get("run"),
        "thing": data.get("thing"),
        "version": data.get("version"),
    }


def _class(one: Class) -> dict[str, Any]:
    return {"index": one.index, "label": one.label, "confidence": round(one.confidence, 4)}


def _detection(one: Detection) -> dict[str, Any]:
    return {**_class(one), "box": {name: round(place, 4) for name, place in vars(one.box).items()}}


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
