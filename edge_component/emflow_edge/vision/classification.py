"""Decodes the output of a classifier: dequantise, apply softmax or sigmoid if needed, select the best classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emflow_edge.model_spec import ModelMismatch, ModelSpec
from emflow_edge.outcome import ClassScore, Outcome, reaches
from emflow_edge.vision.labels import Labels, read_labels
from emflow_edge.vision.learned import LearnedProperties
from emflow_edge.vision.preprocess import FramePlacement
from emflow_edge.vision.values import OutputReader, sigmoid, softmax
from emflow_schema.edge_config import ModelIO
from emflow_schema.errors import EdgeProblem
from emflow_schema.graph import RAW
from emflow_schema.labels import class_values
from emflow_schema.model_facts import ModelFacts

if TYPE_CHECKING:
    from emflow_edge.vision.values import Floats


class ClassificationDecoder:
    """Decodes the first output of a model into its best classes.

    What is done to the values: a softmax or sigmoid when `activation` asks for it. With `auto` the model's file says
    whether they are confidences or raw values; where it does not, raw values are recognised by the first frame with a
    value outside of 0…1, confidences by the first one with a sum of 1 (`LearnedProperties`), and what is not known yet
    gets a softmax. Bytes without a scale get none, because without it the distance between two values means nothing.

    An output of a single value is the confidence of the second of two classes; instead of a softmax it gets a sigmoid,
    which is a softmax over it and 0.

    `confidence: workshop` takes the raw byte / 255 and does nothing to it, as the workshop's client does; `measured` is
    False then, as it is for a compiled model's bytes, which are the same number. Which class is the best is decided by
    the model's own numbers also then: the raw byte of -1 is 255.

    Args:
        facts: what the model's file says; None where it cannot be read.
        learned: what frames have shown about this model before; without it, nothing yet.
        label_lines: what is in the file of the labels; without it, it is read.

    Raises:
        EdgeProblem: the model's output is no list of classes, or of a type that cannot be decoded.
        ConfigProblem: the labels cannot be read, or do not fit.
    """

    def __init__(
        self,
        model: ModelSpec,
        facts: ModelFacts | None,
        model_io: ModelIO,
        learned: LearnedProperties | None = None,
        label_lines: tuple[str, ...] | None = None,
    ) -> None:
        output = model.outputs[0]
        values = class_values(output.shape)
        if values is None:
            raise EdgeProblem(f"model {model.name}: its output of shape {list(output.shape)} is no list of classes")
        self._count, self._single = values, values == 1
        classes = 2 if self._single else values
        workshop = model_io.confidence == "workshop"
        self._values = OutputReader(output, facts.outputs[0] if facts else None, raw=workshop)
        self._raw_of_signed = workshop and facts is not None and facts.outputs[0].dtype == "int8"
        self.measured = self._values.measured
        self._activation = "none" if workshop or not self.measured else model_io.activation
        if self._activation == "auto" and facts is not None:
            known = facts.outputs[0].values
            self._activation = "none" if facts.confidences else ("softmax" if known == RAW else "auto")
        self._learned = learned or LearnedProperties()
        self._offset, self._threshold = model_io.class_offset, model_io.least_confidence
        self._top = min(model_io.top_k, classes)
        path = Path(model_io.labels) if model_io.labels else None
        lines = read_labels(path, values, model_io.class_offset, label_lines) if path else ()
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
        stored = self._values(outputs[0]).reshape(-1)
        if stored.size != self._count:
            raise ModelMismatch(f"the agent sent {stored.size} values for {self._count} classes")
        values = self._active(stored)
        if self._single:
            values = np.array([1 - values[0], values[0]], np.float32)
        order = np.where(values > 0.5, values - np.float32(256 / 255), values) if self._raw_of_signed else values
        # A stable sort of the negated values: of two equal ones the lower index comes first, as with argmax.
        best = np.argsort(-order, kind="stable")[: self._top]
        kept = [
            int(number) for place, number in enumerate(best) if not place or reaches(values[number], self._threshold)
        ]
        return Outcome(tuple(self._choice(number, float(values[number])) for number in kept))

    def _active(self, values: Floats) -> Floats:
        activation = self._activation
        if activation == "auto" and self._single:
            activation = "softmax" if self._learned.are_raw(values) else "none"
        elif activation == "auto":
            activation = "none" if self._learned.are_distribution(values) else "softmax"
        if activation == "softmax":
            return sigmoid(values) if self._single else softmax(values)
        return sigmoid(values) if activation == "sigmoid" else values

    def _choice(self, number: int, value: float) -> ClassScore:
        return ClassScore(number - self._offset, self._label(number), min(1.0, max(0.0, value)))
