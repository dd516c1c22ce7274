"""Decodes the outputs of a detector: objects with a class, a confidence and a box in the frame.

Which output is which is found in `output_roles`. Where non-maximum suppression is not part of the model, it is done
here. What neither the configuration nor the model's file tells is learned from the first frame that leaves no doubt,
and kept (`LearnedProperties`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emflow_edge.model_spec import ModelMismatch, ModelSpec
from emflow_edge.opencv import cv2
from emflow_edge.outcome import ClassScore, Detection, Outcome, reaches
from emflow_edge.vision.labels import Labels, read_lines
from emflow_edge.vision.learned import LearnedProperties, within_one
from emflow_edge.vision.output_roles import YOLOX_STRIDES, Rows, find_roles
from emflow_edge.vision.preprocess import FramePlacement
from emflow_edge.vision.values import OutputReader, sigmoid, softmax
from emflow_schema.edge_config import ModelIO
from emflow_schema.errors import EdgeProblem
from emflow_schema.graph import CONFIDENCES, RAW, UNKNOWN
from emflow_schema.model_facts import ModelFacts

if TYPE_CHECKING:
    import numpy.typing as npt

    from emflow_edge.vision.values import Floats

_DEFAULT_IOU = 0.5
# What is done to a raw detector's scores, by what the model's file says of them.
_ACTIVATIONS = {CONFIDENCES: "none", RAW: "sigmoid", UNKNOWN: "auto"}
# Fractions of the picture end at 1, or a little beyond; of a thing that was found, pixels go further.
_LARGEST_FRACTION = 4.0
# Fractions of the picture: where a box ends at most, for whatever a model says.
_FARTHEST = 1e6
_MOST_CLASSES = 1 << 20
# Widths and heights are positive in pixels and fractions, but for their rounding; relative to a grid they are
# logarithms.
_LEAST_SIZE = -0.5


@dataclass(frozen=True)
class _Candidates:
    """boxes: float32 [n, 4]; scores: float32 [n], or [n, classes] of a raw detector, whose `classes` are None.

    grid: float32 [n, 3], as of `_yolox_grid`, where boxes are relative to it.

    Scores are finite. Boxes and classes may be anything in rows whose score does not reach the threshold.
    """

    boxes: Floats
    scores: Floats
    classes: Floats | None = None
    grid: Floats | None = None


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


class DetectionDecoder:
    """Decodes the outputs of a detector.

    Args:
        facts: what the model's file says; None where it cannot be read.
        learned: what frames have shown about this model before; without it, nothing yet.
        label_lines: what is in the file of the labels; without it, it is read.

    Raises:
        EdgeProblem: the outputs are no detector's, or of a type that cannot be decoded.
        ConfigProblem: the labels cannot be read.
    """

    def __init__(
        self,
        model: ModelSpec,
        facts: ModelFacts | None,
        model_io: ModelIO,
        learned: LearnedProperties | None = None,
        label_lines: tuple[str, ...] | None = None,
    ) -> None:
        self._learned = learned or LearnedProperties()
        shape = model.input.shape
        height, width = shape[1:3] if shape[-1] in (1, 3) else shape[2:4]
        lines = (read_lines(Path(model_io.labels)) if label_lines is None else label_lines) if model_io.labels else ()
        labels = max(0, len(lines) + (model_io.class_offset if len(lines) > 1 else 0))
        facts = facts if facts and len(facts.outputs) == len(model.outputs) else None
        self._roles = find_roles(model, facts, model_io.boxes.outputs, model_io.boxes.columns, labels, (width, height))
        stored = facts.outputs if facts else (None,) * len(model.outputs)
        self._values = [OutputReader(spec, known) for spec, known in zip(model.outputs, stored)]
        self._rows = self._roles.rows
        self._classes = self._rows.classes if self._rows else _check(model, self._roles.places)
        columns = self._rows.columns if self._rows else ()
        self._raw = "scores" in columns or not ({"class", "score"} & {*columns} or "classes" in self._roles.places)
        self._offset = model_io.class_offset
        scores = self._roles.places["rows" if self._rows else "scores"]
        self._activation: str = model_io.activation
        if self._activation == "auto" and facts and self._raw and not self._rows:
            self._activation = _ACTIVATIONS[facts.outputs[scores].values]
        self._threshold, self._top = model_io.least_confidence, model_io.top_k
        self._boxes = model_io.boxes
        self._iou = model_io.boxes.iou if model_io.boxes.iou is not None else (_DEFAULT_IOU if self._raw else 1.0)
        self._order = model_io.boxes.order or (("cxcywh" if self._raw else "xyxy") if self._rows else "yxyx")
        self._size = np.asarray([width, height, width, height], np.float32)
        self._grid = _yolox_grid(width, height) if "objectness" in columns else None
        self._label = _named(lines, self._classes if self._raw else None, model_io.class_offset)
        self.measured = self._values[scores].measured

    def __call__(self, outputs: Sequence[bytes], placement: FramePlacement) -> Outcome:
        """The detections, best first; possibly empty.

        Args:
            outputs: the output tensors' little-endian bytes.
            placement: where the frame is in the input image.

        Raises:
            ModelMismatch: the agent sent another number of values than an output has, or of outputs.
            NonFiniteOutput: a score, or the class or box of a row whose score reaches the threshold, is not finite.
        """
        if len(outputs) != len(self._values):
            raise ModelMismatch(f"the agent sent {len(outputs)} outputs of {len(self._values)}")
        # Of some outputs only a part means something, which is what has to be finite.
        found = {role: self._values[place].read(outputs[place]) for role, place in self._roles.places.items()}
        candidates = self._of_rows(found, self._rows) if self._rows else self._of_outputs(found)
        rows, classes, scores = self._one_class_each(candidates)
        good = np.flatnonzero(classes >= self._offset)
        good = good[np.argsort(-scores[good], kind="stable")]
        rows, classes, scores = rows[good], classes[good], scores[good]
        # Of the other rows, which are nearly all of a raw detector's, the boxes mean nothing.
        boxes = self._finite("rows" if self._rows else "boxes", candidates.boxes[rows])
        corners = self._corners(boxes if candidates.grid is None else _off_grid(boxes, candidates.grid[rows]))
        # Before some are chosen: what is not in the frame, such as in margins, takes no other's place.
        seen = placement.overlaps_frame(corners)
        corners, classes, scores = corners[seen], classes[seen], scores[seen]
        if self._iou < 1:
            kept = non_max_suppression(corners, scores, classes, self._iou, self._boxes.most)
            corners, classes, scores = corners[kept], classes[kept], scores[kept]
        most = self._boxes.most
        things = [
            Detection(number - self._offset, self._label(number), min(1.0, score), placement.box_in_frame(*corner))
            for corner, number, score in zip(corners[:most].tolist(), classes[:most].tolist(), scores[:most].tolist())
        ]
        return Outcome(_best_of_each(things)[: self._top], tuple(things))

    def _of_outputs(self, found: dict[str, Floats]) -> _Candidates:
        """From outputs of their own for boxes and scores."""
        boxes = found["boxes"].reshape(-1, 4)
        count = len(boxes)
        # What lies after the count is not there.
        told = self._finite("count", found["count"].ravel()[:1]).tolist() if "count" in found else []
        valid = max(0, min(int(told[0]), count)) if told else count
        boxes = boxes[:valid]
        if self._raw:
            if found["scores"].size != count * self._classes:
                raise ModelMismatch(f"the agent sent {found['scores'].size} scores for {count} boxes")
            scores = self._finite("scores", found["scores"].reshape(count, self._classes)[:valid])
            return _Candidates(boxes, self._active(scores))
        classes, scores = found["classes"].ravel(), found["scores"].ravel()
        if not len(classes) == len(scores) == count:
            raise ModelMismatch(f"the agent sent {count} boxes, {len(classes)} classes and {len(scores)} scores")
        classes, scores = classes[:valid], self._finite("scores", scores[:valid])
        # Where either may be the scores, both have to be finite.
        if not self._roles.certain and not self._classes_first(self._finite("classes", classes), scores, bool(told)):
            classes, scores = scores, classes
        return _Candidates(boxes, scores, classes)

    def _of_rows(self, found: dict[str, Floats], layout: Rows) -> _Candidates:
        """From a single output with a box and its scores in each row."""
        table = found["rows"].reshape(found["rows"].shape[-2:])
        table = table.T if layout.across else table
        at = {column: layout.place(column) for column in layout.columns}
        if "scores" in at:
            boxes = table[:, at["box"] : at["box"] + 4]
            end = at["scores"] + layout.classes
            if "objectness" in at:
                # Both before they are multiplied: either may be the one that shows that they are raw.
                both = self._active(self._finite("rows", table[:, at["objectness"] : end]))
                return _Candidates(boxes, both[:, :1] * both[:, 1:], grid=self._grid_of(boxes))
            return _Candidates(boxes, self._active(self._finite("rows", table[:, at["scores"] : end])))
        if "class" in at:
            classes = table[:, at["class"]]
        elif "classes" in found:
            classes = found["classes"].ravel()
        else:
            classes = np.zeros(len(table), np.float32)
        if len(classes) != len(table):
            raise ModelMismatch(f"the agent sent {len(table)} boxes and {len(classes)} classes")
        # Rows without a thing have a negative image or class; what else they hold means nothing.
        there = ~_negative(classes)
        if "image" in at:
            there &= ~_negative(table[:, at["image"]])
        table, classes = table[there], classes[there]
        scores = self._finite("rows", table[:, at["score"]])
        if "image" in at:
            self._finite("rows", table[self._reach(scores), at["image"]])
        return _Candidates(table[:, at["box"] : at["box"] + 4], scores, classes)

    def _finite(self, role: str, values: Floats) -> Floats:
        """The values of the output with this role, or what of them means something.

        Raises:
            NonFiniteOutput: some of them are not finite.
        """
        return self._values[self._roles.places[role]].finite(values)

    def _reach(self, scores: Floats) -> npt.NDArray[np.bool_]:
        """Which scores reach the threshold; 0 is that of nothing."""
        reached: npt.NDArray[np.bool_] = reaches(scores, self._threshold) & (scores > 0)
        return reached

    def _one_class_each(self, candidates: _Candidates) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
        """The row of the box, the class, and the score of each candidate whose score reaches the threshold."""
        if candidates.classes is None:
            # Not all boxes times all classes: those without any score are most of them.
            rows, numbers = np.nonzero(self._reach(candidates.scores))
            return rows, numbers, candidates.scores[rows, numbers]
        rows = np.flatnonzero(self._reach(candidates.scores))
        role = "classes" if "classes" in self._roles.places else "rows"
        classes = self._finite(role, candidates.classes[rows])
        # What is no class's number becomes one that has no label, alike on all processors.
        numbers = np.rint(np.clip(classes, -_MOST_CLASSES, _MOST_CLASSES)).astype(np.int64)
        return rows, numbers, candidates.scores[rows]

    def _classes_first(self, first: Floats, second: Floats, counted: bool) -> bool:
        """Whether the first of two outputs holds the classes, by these values and all before.

        Args:
            counted: whether the model says that there are as many things.
        """
        # Rows without a thing may have negative numbers in both.
        there = (first >= 0) | (second >= 0)
        first, second = first[there], second[there]
        # Classes are whole numbers, scores are within 0…1.
        possible = [_whole(first) and within_one(second), _whole(second) and within_one(first)]
        if possible[0] != possible[1]:
            self._learned.classes_first = possible[0]
        elif possible == [False, False] and _whole(first) != _whole(second):
            self._learned.classes_first = _whole(first)
        if self._learned.classes_first is not None:
            return self._learned.classes_first
        return _likely_classes_first(first, second, counted)

    def _active(self, scores: Floats) -> Floats:
        if self._activation == "softmax":
            return softmax(scores) if scores.size else scores
        if self._activation == "sigmoid" or (self._activation == "auto" and self._learned.are_raw(scores)):
            return sigmoid(scores)
        return scores

    def _grid_of(self, boxes: Floats) -> Floats | None:
        """The cells of YOLOX's grids, one for each of all rows, where boxes are relative to them."""
        if self._grid is None or len(self._grid) != len(boxes):
            return None
        if not self._learned.on_grid:
            sizes = boxes[:, 2:]
            if bool((sizes[np.isfinite(sizes)] < _LEAST_SIZE).any()):
                self._learned.on_grid = True
        return self._grid if self._learned.on_grid else None

    def _corners(self, boxes: Floats) -> Floats:
        """left, top, right, bottom in fractions of the model's picture.

        Args:
            boxes: of the things that were found.
        """
        if self._order == "yxyx":
            boxes = boxes[:, [1, 0, 3, 2]]
        elif self._order == "cxcywh":
            boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        units = self._boxes.units
        if units is None and boxes.size and float(boxes.max()) > _LARGEST_FRACTION:
            self._learned.pixels = True
        pixels = units == "pixels" or (units is None and self._learned.pixels)
        # Without infinities, which are no numbers to compute areas from.
        return np.asarray(np.clip(boxes / self._size if pixels else boxes, -_FARTHEST, _FARTHEST), np.float32)


def _check(model: ModelSpec, places: Mapping[str, int]) -> int:
    """How many scores each box has.

    Raises:
        EdgeProblem: boxes and scores do not go together.
    """
    boxes, scores = (model.outputs[places[role]] for role in ("boxes", "scores"))
    if boxes.is_open or scores.is_open:
        classes = max(1, scores.shape[-1]) if len(scores.shape) == len(boxes.shape) else 1
        if boxes.shape[-1:] == (4,):
            return classes
    elif boxes.size >= 4 and not boxes.size % 4 and not scores.size % (boxes.size // 4):
        return scores.size // (boxes.size // 4)
    raise EdgeProblem(f"model {model.name}: boxes {boxes} and scores {scores} do not go together")


def _negative(values: Floats) -> npt.NDArray[np.bool_]:
    """Which values are negative numbers; an infinite one is no number that a model writes for a row without a thing."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(values) & (values < 0)


def _whole(values: Floats) -> bool:
    return bool((values == np.rint(values)).all())


def _likely_classes_first(first: Floats, second: Floats, counted: bool) -> bool:
    """Which of two outputs are the classes where all of their values are 0 or 1, and nothing is known yet.

    A thing that the model counts has a score above 0. Without a count, rows of things come before empty ones, so the
    scores fall from 1 to 0; and where neither shows, nothing was found.
    """
    if not first.size:
        return True
    if counted:
        return not (bool((first > 0).all()) and not bool((second > 0).all()))
    falls = [bool((values[:-1] >= values[1:]).all() and values[:1] > values[-1:]) for values in (first, second)]
    if falls[0] != falls[1]:
        return falls[1]
    return float(first.sum()) >= float(second.sum())


def _yolox_grid(width: int, height: int) -> Floats:
    """float32 [cells, 3]: column, row and stride of each cell, in the order of YOLOX's output."""
    parts = []
    for stride in YOLOX_STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        parts.append(np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)], axis=1))
    return np.concatenate(parts).astype(np.float32)


def _off_grid(boxes: Floats, cells: Floats) -> Floats:
    """Boxes that are relative to cells of YOLOX's grids, float32 [n, 3], as centres and sizes in pixels."""
    strides = cells[:, 2:]
    with np.errstate(over="ignore"):
        sizes = np.minimum(np.exp(boxes[:, 2:]) * strides, np.float32(1e6))
    return np.concatenate([(boxes[:, :2] + cells[:, :2]) * strides, sizes], axis=1)


def _named(lines: tuple[str, ...], classes: int | None, offset: int) -> Labels:
    """How many classes a detector has is not always in its outputs' shapes; the labels are then for those it tells."""
    if classes is None or len(lines) != classes:
        classes = len(lines) + offset
    return Labels(lines, classes)


def _best_of_each(things: Sequence[Detection]) -> tuple[ClassScore, ...]:
    best: dict[int, ClassScore] = {}
    for thing in things:
        best.setdefault(thing.index, ClassScore(thing.index, thing.label, thing.confidence))
    return tuple(best.values())
