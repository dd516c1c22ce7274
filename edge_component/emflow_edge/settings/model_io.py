"""How pixels become the model's input and its output becomes what people call it: the section `modelIO`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emflow_schema import fields
from emflow_schema.errors import ConfigProblem

ROLES = ("boxes", "classes", "scores", "count")


@dataclass(frozen=True)
class Boxes:
    """How a detector's outputs are read.

    outputs: the role of each output in the model's order; empty: told from their shapes and names. order: of a box's
    four numbers: two corners from the top (`yxyx`) or from the left (`xyxy`), or centre and size (`cxcywh`). units:
    `fraction` of the model's picture, or its `pixels`. most: how many detections a result has at most.
    iou: of two boxes of a class that overlap by more than this (intersection over union) the weaker one goes; None: as
    the model needs it, which is 0.5 where it does not do that itself. 1 leaves all.
    """

    outputs: tuple[str, ...] = ()
    order: str = "yxyx"
    units: str = "fraction"
    most: int = 100
    iou: float | None = None


@dataclass(frozen=True)
class ModelIO:
    """How pixels become the model's input and its output becomes what people call it.

    task: `classification` names the whole picture, `detection` finds things in it.
    color: the order of channels that the model was trained on. resize: see `vision.placement`; margin: the pixel value
    of a letterbox' margins. mean, std: (pixel - mean) / std, in pixels; None: as the model's type has it.
    activation: `softmax`, `sigmoid` or `none` is done to the dequantised output; `auto` goes by the model.
    confidence: a `probability`, or the `workshop`'s number: the output's raw byte / 255.
    class_offset: classes before index 0 of what is published (the background).
    top_k: how many of the best classes are told. threshold: confidence under which a class or thing is not told.
    """

    task: str = "classification"
    color: str = "rgb"
    resize: str = "stretch"
    margin: int = 0
    mean: fields.Channels | None = None
    std: fields.Channels | None = None
    activation: str = "auto"
    confidence: str = "probability"
    labels: Path | None = None
    class_offset: int = 0
    top_k: int = 3
    threshold: float = 0.0
    boxes: Boxes = field(default_factory=Boxes)


def read_model_io(one: Mapping[str, Any], assets: Path | None) -> ModelIO:
    """Check the section `modelIO`. Paths of labels are relative to `assets`.

    Raises:
        ConfigProblem: a value is wrong.
    """
    prefix = "modelIO."
    labels = fields.text(one, "labels", prefix=prefix)
    task = fields.choice(one, "task", ("classification", "detection"), prefix)
    return ModelIO(
        task=task,
        color=fields.choice(one, "color", ("rgb", "bgr"), prefix),
        resize=fields.choice(one, "resize", ("stretch", "letterbox", "crop"), prefix),
        margin=fields.whole(one, "margin", 0, low=0, high=255, prefix=prefix),
        mean=fields.channels(one, "mean", prefix),
        std=fields.channels(one, "std", prefix, above=0.0),
        activation=fields.choice(one, "activation", ("auto", "softmax", "sigmoid", "none"), prefix),
        confidence=fields.choice(one, "confidence", ("probability", "workshop"), prefix),
        labels=(assets or Path()) / labels if labels else None,
        class_offset=fields.whole(one, "classOffset", 0, low=0, high=1_000_000, prefix=prefix),
        top_k=fields.whole(one, "topK", 3, low=1, high=1000, prefix=prefix),
        threshold=fields.number(one, "threshold", 0.5 if task == "detection" else 0.0, low=0, high=1, prefix=prefix),
        boxes=_boxes(fields.section(one, "boxes")),
    )


def _boxes(one: Mapping[str, Any]) -> Boxes:
    prefix = "modelIO.boxes."
    outputs = tuple(part.strip() for part in fields.text(one, "outputs", prefix=prefix).split(",") if part.strip())
    wrong = [role for role in outputs if role not in ROLES]
    if wrong or len(set(outputs)) != len(outputs) or (outputs and not {"boxes", "scores"} <= set(outputs)):
        raise ConfigProblem(f"{prefix}outputs: has to name boxes and scores, and may name classes and count, each once")
    return Boxes(
        outputs=outputs,
        order=fields.choice(one, "order", ("yxyx", "xyxy", "cxcywh"), prefix),
        units=fields.choice(one, "units", ("fraction", "pixels"), prefix),
        most=fields.whole(one, "most", 100, low=1, high=10_000, prefix=prefix),
        iou=fields.number(one, "iou", 0.5, low=0, high=1, prefix=prefix) if one.get("iou") not in (None, "") else None,
    )
