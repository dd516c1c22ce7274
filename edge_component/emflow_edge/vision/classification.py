"""Decodes the output of a classifier: dequantise, apply softmax or sigmoid if needed, select the best classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emflow_edge.model_spec import ModelSpec
from emflow_edge.outcome import ClassScore, Outcome
from emflow_edge.vision.labels import Labels, read_labels
from emflow_edge.vision.preprocess import FramePlacement
from emflow_edge.vision.values import OutputReader, sigmoid, softmax, within_one
from emflow_schema.edge_config import ModelIO
from emflow_schema.errors import EdgeProblem
from emflow_schema.tflite import ModelFacts

if TYPE_CHECKING:
    from emflow_edge.vision.values import Floats


class ClassificationDecoder:
    """Decodes the first output of a model into its best classes.

    What is done to the values: a softmax or sigmoid when `activation` asks for it; with `auto` a softmax, unless the
    model's file says that it ends in one, or, without a file, the values are in 0…1 and sum up to 1 within 0.1 already.
    Bytes without a scale get none, because without it the distance between two values means nothing.

    `confidence: workshop` takes the raw byte / 255 and does nothing to it, as the workshop's client does; `measured` is
    False then, as it is for a compiled model's bytes, which are the same number.

    Raises:
        EdgeProblem: the model's output is no list of classes, or of a type that cannot be decoded.
        ConfigProblem: the labels cannot be read, or do not fit.
    """

    def __init__(self, model: ModelSpec, facts: ModelFacts | None, model_io: ModelIO) -> None:
        output = model.outputs[0]
        if not output.shape or any(side != 1 for side in output.shape[:-1]) or output.shape[-1] < 2:
            raise EdgeProblem(f"model {model.name}: its output of shape {list(output.shape)} is no list of classes")
        classes = output.shape[-1]
        workshop = model_io.confidence == "workshop"
        self._values = OutputReader(output, facts.outputs[0] if facts else None, raw=workshop)
        self.measured = self._values.measured
        self._activation = "none" if workshop or not self.measured else model_io.activation
        if self._activation == "auto" and facts is not None:
            self._activation = "none" if facts.confidences else "softmax"
        self._offset, self._threshold = model_io.class_offset, model_io.least_confidence
        self._top = min(model_io.top_k, classes)
        lines = read_labels(Path(model_io.labels), classes, model_io.class_offset) if model_io.labels else ()
        self._label = Labels(lines, classes)

    def __call__(self, outputs: Sequence[bytes], placement: FramePlacement | None = None) -> Outcome:  # noqa: ARG002
        """The best classes, best first; the best one always, others from the threshold on.

        Args:
            outputs: the output tensors' little-endian bytes.
            placement: means nothing to what is said of the whole picture.

        Raises:
            ModelMismatch: the agent sent another number of values than the model has classes.
            NonFiniteOutput: some of them are not finite.
        """
        values = self._active(self._values(outputs[0]).reshape(-1))
        # A stable sort of the negated values: of two equal ones the lower index comes first, as with argmax.
        best = np.argsort(-values, kind="stable")[: self._top]
        kept = [int(number) for place, number in enumerate(best) if not place or values[number] >= self._threshold]
        return Outcome(tuple(self._choice(number, float(values[number])) for number in kept))

    def _active(self, values: Floats) -> Floats:
        if self._activation == "softmax" or (self._activation == "auto" and not is_distribution(values)):
            return softmax(values)
        return sigmoid(values) if self._activation == "sigmoid" else values

    def _choice(self, number: int, value: float) -> ClassScore:
        return ClassScore(number - self._offset, self._label(number), min(1.0, max(0.0, value)))


def is_distribution(values: Floats) -> bool:
    """Whether values are confidences already: within 0…1, summing up to about 1."""
    # The sum of large values may well be infinite.
    with np.errstate(over="ignore"):
        return within_one(values) and abs(float(values.sum()) - 1) <= 0.1
