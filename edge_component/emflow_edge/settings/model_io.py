"""How pixels become the model's input and its output becomes a label: the section `modelIO`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emflow_edge.settings import fields


@dataclass(frozen=True)
class ModelIO:
    """How pixels become the model's input and its output becomes a label.

    color: the order of channels that the model was trained on. mean, std: for float inputs only, (pixel - mean) / std.
    activation: `softmax` or `none` is done to the dequantised output; `auto` goes by the model.
    class_offset: classes before index 0 of what is published (the background).
    """

    color: str = "rgb"
    resize: str = "stretch"
    mean: fields.Channels = (127.5, 127.5, 127.5)
    std: fields.Channels = (127.5, 127.5, 127.5)
    activation: str = "auto"
    labels: Path | None = None
    class_offset: int = 0
    top_k: int = 3


def read_model_io(one: Mapping[str, Any], assets: Path | None) -> ModelIO:
    """Check the section `modelIO`. Paths of labels are relative to `assets`.

    Raises:
        ConfigProblem: a value is wrong.
    """
    prefix = "modelIO."
    labels = fields.text(one, "labels", prefix=prefix)
    default = ModelIO()
    return ModelIO(
        color=fields.choice(one, "color", ("rgb", "bgr"), prefix),
        resize=fields.choice(one, "resize", ("stretch",), prefix),
        mean=fields.channels(one, "mean", default.mean, prefix),
        std=fields.channels(one, "std", default.std, prefix, above=0.0),
        activation=fields.choice(one, "activation", ("auto", "softmax", "none"), prefix),
        labels=(assets or Path()) / labels if labels else None,
        class_offset=fields.whole(one, "classOffset", 0, low=0, high=1_000_000, prefix=prefix),
        top_k=fields.whole(one, "topK", 3, low=1, high=1000, prefix=prefix),
    )
