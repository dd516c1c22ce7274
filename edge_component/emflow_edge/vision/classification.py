"""From the model's output bytes to labelled confidences: dequantise, softmax where it is due, the best few."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emflow_edge.inference.model import Model
from emflow_edge.inference.tflite import ModelFacts
from emflow_edge.problems import ConfigProblem, EdgeProblem
from emflow_edge.settings.model_io import ModelIO

if TYPE_CHECKING:
    # Not at run time: NumPy before 1.21, which board images have, has no NDArray.
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Choice:
    """One class of a result. index: without the classes before the offset, so the background has -1."""

    index: int
    label: str | None
    confidence: float


class NoNumbers(Exception):
    """The model answered NaN or infinity, which names no class; its next answer may be all right."""


class Decode:
    """Turns one model's output into its best classes.

    Where the values come from, in this order:

    - float output: as it is; integer output with the quantisation of the model's file: scale * (value - zero point).
    - integer output of a model without a readable file (a compiled one): value / 255, and no softmax, because without
      a scale the distance between two values means nothing. This is the workshop's number, and no probability;
      `measured` is False then.

    A softmax is done when `activation` asks for it; with `auto`, unless the model's file says that it ends in one, or,
    without a file, the values are in 0…1 and sum up to 1 within 0.1 already.

    Raises:
        EdgeProblem: the output's type cannot be decoded.
    """

    def __init__(self, model: Model, facts: ModelFacts | None, model_io: ModelIO, labels: tuple[str, ...] = ()) -> None:
        stored = facts.output if facts else None
        self._signed = stored is not None and stored.dtype == "int8" and model.output.dtype == "uint8"
        self._dtype = np.dtype("int8" if self._signed else model.output.dtype).newbyteorder("<")
        if self._dtype.kind not in "iuf":
            raise EdgeProblem(f"the model's output is {model.output.dtype}, which cannot be decoded")
        self.measured = True
        self._scale, self._zero = 1.0, 0
        softmax = model_io.activation == "softmax"
        auto = model_io.activation == "auto"
        if self._dtype.kind in "iu":
            if stored and stored.scale:
                self._scale, self._zero = stored.scale, stored.zero_point
            else:
                self._scale, self.measured = 1.0 / 255.0, False
                softmax, auto = False, False
        self._softmax = softmax or (auto and facts is not None and not facts.confidences)
        self._look = auto and facts is None
        self._classes = model.classes
        self._offset = model_io.class_offset
        self._top = min(model_io.top_k, self._classes)
        self._labels = labels

    def __call__(self, data: bytes) -> tuple[Choice, ...]:
        """The best classes, best first. `data`: the output tensor's little-endian bytes.

        Raises:
            EdgeProblem: the agent sent another number of values than the model has classes.
            NoNumbers: some of them are not finite.
        """
        if len(data) != self._classes * self._dtype.itemsize:
            raise EdgeProblem(f"the agent sent {len(data)} bytes for {self._classes} classes of {self._dtype.name}")
        # What is too large for float32 becomes infinite, which is looked for right after; a sum may well be infinite.
        with np.errstate(over="ignore", invalid="ignore"):
            values = (np.frombuffer(data, self._dtype).astype(np.float32) - self._zero) * np.float32(self._scale)
            wrong = values.size - int(np.isfinite(values).sum())
            if wrong:
                raise NoNumbers(f"{wrong} of the {values.size} values in the model's answer are NaN or infinite")
            if self._softmax or (self._look and not is_distribution(values)):
                values = softmax(values)
        # A stable sort of the negated values: of two equal ones the lower index comes first, as with argmax.
        best = np.argsort(-values, kind="stable")[: self._top]
        return tuple(self._choice(int(number), float(values[number])) for number in best)

    def _choice(self, number: int, value: float) -> Choice:
        return Choice(number - self._offset, self._label(number), min(1.0, max(0.0, value)))

    def _label(self, number: int) -> str | None:
        """The label of an output, from a file with all of them or one without those before the offset."""
        place = number - (self._classes - len(self._labels))
        return self._labels[place] if self._labels and place >= 0 else None


def softmax(values: Floats) -> Floats:
    """exp(v) / sum(exp(v)), without overflow."""
    powers: Floats = np.exp(values - values.max())
    powers /= powers.sum()
    return powers


def is_distribution(values: Floats) -> bool:
    """Whether values are confidences already: within 0…1, summing up to about 1."""
    return bool(values.min() >= 0 and values.max() <= 1 and abs(float(values.sum()) - 1) <= 0.1)


def read_labels(path: Path, classes: int, class_offset: int) -> tuple[str, ...]:
    """One label a line, for all classes or for those after the offset.

    Raises:
        ConfigProblem: the file is missing, no text, or has another number of lines.
    """
    try:
        labels = tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigProblem(f"modelIO.labels: {path} cannot be read as text: {_reason(error)}") from error
    while labels and not labels[-1].strip():
        labels = labels[:-1]
    if len(labels) not in (classes, classes - class_offset):
        raise ConfigProblem(
            f"modelIO.labels: {path} has {len(labels)} lines, but the model has {classes} classes "
            f"({classes - class_offset} after modelIO.classOffset)"
        )
    return tuple(label.strip() for label in labels)


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"
