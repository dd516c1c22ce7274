"""Decodes the outputs of a detector: objects with a class, a confidence and a box in the frame.

Two kinds of detectors are distinguished by the shapes of their outputs:

- with non-maximum suppression in the model, as the detection operator of TensorFlow Lite does: boxes [1, n, 4],
  classes [1, n], scores [1, n] and, mostly, a count [1]; the order of classes and scores differs between exports.
- raw: boxes [1, n, 4] and scores of every class [1, n, classes]; non-maximum suppression is done here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from emflow_edge.opencv import cv2

if TYPE_CHECKING:
    import numpy.typing as npt

    from emflow_edge.vision.values import Floats


from pathlib import Path
from typing import TYPE_CHECKING

from emflow_edge.model_spec import ModelMismatch, ModelSpec
from emflow_edge.outcome import ClassScore, Detection, Outcome
from emflow_edge.vision.labels import Labels, read_lines
from emflow_edge.vision.preprocess import FramePlacement
from emflow_edge.vision.values import OutputReader, sigmoid, softmax, within_one
from emflow_schema.edge_config import ModelIO
from emflow_schema.errors import EdgeProblem
from emflow_schema.tflite import ModelFacts

if TYPE_CHECKING:
    import numpy.typing as npt

    from emflow_edge.vision.values import Floats


def non_max_suppression(
    corners: Floats, scores: Floats, classes: npt.NDArray[np.int64], iou: float, most: int
) -> npt.NDArray[np.int64]:
    """Non-maximum suppression. The rows to keep, best first, at most `most`.

    Args:
        corners: float32 [n, 4]: left, top, right, bottom.
        scores: float32 [n].
        classes: int64 [n]; boxes of different classes never suppress each other.
        iou: intersection over union of two boxes above which the weaker one goes.
    """
    if not len(scores):
        return np.zeros(0, np.int64)
    # Shift each class to its own area, so that one call handles all classes; OpenCV can do it itself since 4.7.
    apart = float(corners.max() - min(0.0, float(corners.min()))) + 1.0
    shifted = corners + (classes * apart)[:, np.newaxis]
    places = np.concatenate([shifted[:, :2], shifted[:, 2:] - shifted[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(places.tolist(), scores.tolist(), 0.0, iou, top_k=0)
    # An array, a tuple, or (before 4.5.4) an array of one column.
    return np.asarray(kept, np.int64).reshape(-1)[:most]


# What TensorFlow Lite's detection operator's outputs are called, in its order.
_OPERATOR = b"TFLite_Detection_PostProcess"
_NAMED = {_OPERATOR: "boxes", _OPERATOR + b":1": "classes", _OPERATOR + b":2": "scores", _OPERATOR + b":3": "count"}
_DEFAULT_IOU = 0.5


class DetectionDecoder:
    """Decodes the outputs of a detector.

    Raises:
        EdgeProblem: the outputs are no detector's, or of a type that cannot be decoded.
        ConfigProblem: the labels cannot be read.
    """

    def __init__(self, model: ModelSpec, facts: ModelFacts | None, model_io: ModelIO) -> None:
        self._roles = _roles(model, model_io.boxes.outputs)
        stored = facts.outputs if facts and len(facts.outputs) == len(model.outputs) else (None,) * len(model.outputs)
        self._values = [OutputReader(spec, known) for spec, known in zip(model.outputs, stored)]
        boxes, scores = (model.outputs[self._roles[role]] for role in ("boxes", "scores"))
        self._count = boxes.size // 4
        self._classes = scores.size // self._count
        if boxes.size % 4 or not self._count or scores.size != self._count * self._classes:
            raise EdgeProblem(f"model {model.name}: boxes {boxes} and scores {scores} do not go together")
        self._raw = "classes" not in self._roles
        self._either = not model_io.boxes.outputs and model.outputs[self._roles["scores"]].name not in _NAMED
        self._activation, self._offset = model_io.activation, model_io.class_offset
        self._threshold, self._top = model_io.least_confidence, model_io.top_k
        self._boxes = model_io.boxes
        self._iou = model_io.boxes.iou if model_io.boxes.iou is not None else (_DEFAULT_IOU if self._raw else 1.0)
        height, width = model.input.shape[1:3] if model.input.shape[-1] in (1, 3) else model.input.shape[2:4]
        pixels = model_io.boxes.units == "pixels"
        self._size = np.asarray([width, height, width, height] if pixels else [1, 1, 1, 1], np.float32)
        self._label = _named(model_io, self._classes if self._raw else None)
        self.measured = self._values[self._roles["scores"]].measured

    def __call__(self, outputs: Sequence[bytes], placement: FramePlacement) -> Outcome:
        """The detections, best first; possibly empty.

        Args:
            outputs: the output tensors' little-endian bytes.
            placement: where the frame is in the input image.

        Raises:
            ModelMismatch: the agent sent another number of values than an output has, or of outputs.
            NonFiniteOutput: some of them are not finite.
        """
        if len(outputs) != len(self._values):
            raise ModelMismatch(f"the agent sent {len(outputs)} outputs of {len(self._values)}")
        found = {role: self._values[place](outputs[place]) for role, place in self._roles.items()}
        corners = self._corners(found["boxes"].reshape(-1, 4))
        rows, classes, scores = self._one_class_each(found)
        good = np.flatnonzero((scores >= self._threshold) & (classes >= self._offset))
        good = good[np.argsort(-scores[good], kind="stable")]
        rows, classes, scores = rows[good], classes[good], scores[good]
        if self._iou < 1:
            kept = non_max_suppression(corners[rows], scores, classes, self._iou, self._boxes.most)
            rows, classes, scores = rows[kept], classes[kept], scores[kept]
        things = []
        for row, number, score in zip(rows.tolist(), classes.tolist(), scores.tolist()):
            box = placement.box_in_frame(*corners[row].tolist())
            if box.width > 0 and box.height > 0:
                things.append(Detection(number - self._offset, self._label(number), min(1.0, score), box))
            if len(things) == self._boxes.most:
                break
        return Outcome(_best_of_each(things)[: self._top], tuple(things))

    def _one_class_each(
        self, found: Mapping[str, Floats]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
        """Candidates: the row of the box, the class, and the score of each."""
        if self._raw:
            every = self._active(found["scores"].reshape(self._count, self._classes))
            # Not all boxes times all classes: those without any score are most of them.
            rows, numbers = np.nonzero((every >= self._threshold) & (every > 0))
            return rows, numbers, every[rows, numbers]
        classes, scores = found["classes"].ravel(), found["scores"].ravel()
        if self._either and not _whole(classes) and _whole(scores):
            classes, scores = scores, classes
        count = int(found["count"].ravel()[0]) if "count" in found else self._count
        valid = np.arange(max(0, min(count, self._count)))
        return valid, np.rint(classes[valid]).astype(np.int64), scores[valid]

    def _active(self, scores: Floats) -> Floats:
        if self._activation == "softmax":
            return softmax(scores)
        if self._activation == "sigmoid" or (self._activation == "auto" and not within_one(scores)):
            return sigmoid(scores)
        return scores

    def _corners(self, boxes: Floats) -> Floats:
        """left, top, right, bottom in fractions of the model's picture."""
        if self._boxes.order == "yxyx":
            boxes = boxes[:, [1, 0, 3, 2]]
        elif self._boxes.order == "cxcywh":
            boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        return np.asarray(boxes / self._size, np.float32)


def _roles(model: ModelSpec, given: tuple[str, ...]) -> dict[str, int]:
    """Which output is which, by what the configuration says, by their names, or by their shapes."""
    specs = model.outputs
    if given:
        if len(given) > len(specs):
            raise EdgeProblem(
                f"modelIO.boxes.outputs names {len(given)} outputs, and model {model.name} has {len(specs)}"
            )
        return {role: place for place, role in enumerate(given)}
    if all(spec.name in _NAMED for spec in specs) and len(specs) >= 3:
        return {_NAMED[spec.name]: place for place, spec in enumerate(specs)}
    boxes = [place for place, spec in enumerate(specs) if len(spec.shape) >= 2 and spec.shape[-1] == 4]
    if len(boxes) == 1:
        rows = specs[boxes[0]].size // 4
        rank = len(specs[boxes[0]].shape)
        single = [place for place, spec in enumerate(specs) if len(spec.shape) == rank - 1 and spec.size == rows]
        several = [
            place
            for place, spec in enumerate(specs)
            if place != boxes[0] and len(spec.shape) == rank and spec.shape[-2] == rows
        ]
        count = [place for place, spec in enumerate(specs) if len(spec.shape) <= 1 and spec.size == 1]
        counted = {"count": count[0]} if count else {}
        if len(single) == 2:
            first, second = single if b"score" not in specs[single[0]].name.lower() else reversed(single)
            return {"boxes": boxes[0], "classes": first, "scores": second, **counted}
        if not single and len(several) == 1:
            return {"boxes": boxes[0], "scores": several[0]}
    listed = ", ".join(f"{spec.name.decode(errors='replace')} {spec}" for spec in specs)
    raise EdgeProblem(
        f"model {model.name}: its outputs ({listed}) are not recognised as those of a detector; "
        "set modelIO.boxes.outputs"
    )


def _whole(values: Floats) -> bool:
    return bool((values == np.rint(values)).all())


def _named(model_io: ModelIO, classes: int | None) -> Labels:
    """How many classes a detector has is not always in its outputs' shapes; the labels are then for those it tells."""
    lines = read_lines(Path(model_io.labels)) if model_io.labels else ()
    if classes is None or len(lines) != classes:
        classes = len(lines) + model_io.class_offset
    return Labels(lines, classes)


def _best_of_each(things: Sequence[Detection]) -> tuple[ClassScore, ...]:
    best: dict[int, ClassScore] = {}
    for thing in things:
        best.setdefault(thing.index, ClassScore(thing.index, thing.label, thing.confidence))
    return tuple(best.values())
