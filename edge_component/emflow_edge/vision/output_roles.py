"""Which output of a detector is which: by the configuration, the model's file, the outputs' names, types and shapes.

What exports look like:

- TensorFlow's detectors, with non-maximum suppression in the model: boxes [1, n, 4], classes [1, n], scores [1, n] and,
  mostly, a count [1]; the order of classes and scores differs between exports, and names may say nothing.
- torchvision's: boxes [n, 4], labels [n], scores [n], with as many rows as there are things.
- raw: boxes [1, n, 4] and scores of every class [1, n, classes].
- a single output of rows: YOLO, SSD's DetectionOutput [1, 1, n, 7], or boxes with their scores [1, n, 5] and labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emflow_edge.model_spec import ModelSpec, TensorSpec
from emflow_schema.errors import EdgeProblem
from emflow_schema.model_facts import ModelFacts

# What TensorFlow Lite's detection operator's outputs are called, in its order.
_OPERATOR = "TFLite_Detection_PostProcess"
_NAMED = {_OPERATOR: "boxes", f"{_OPERATOR}:1": "classes", f"{_OPERATOR}:2": "scores", f"{_OPERATOR}:3": "count"}

# Parts of names, in order of precedence: `class_scores` are scores, `num_classes` a count.
_WORDS = (
    *(("num", "count"), ("count", "count"), ("score", "scores"), ("conf", "scores"), ("prob", "scores")),
    *(("class", "classes"), ("label", "classes"), ("categor", "classes"), ("box", "boxes")),
)
# Of outputs that stand beside those that count, such as TensorFlow's raw_detection_boxes.
_OTHER_WORDS = ("raw", "multiclass", "anchor", "mask", "keypoint", "feature")

# Strides of YOLO's grids: of most networks, of those for large pictures, and of the small ones; with one or three
# anchors for each cell.
_STRIDES, _ANCHORS = ((8, 16, 32), (8, 16, 32, 64), (16, 32)), (1, 3)
YOLOX_STRIDES = _STRIDES[0]

Columns = tuple[str, ...]
_RAW: Columns = ("box", "scores")
_WITH_OBJECTNESS: Columns = ("box", "objectness", "scores")
_FOUND: Columns = ("box", "score", "class")
_YOLO7_FOUND: Columns = ("image", "box", "class", "score")
_SSD_FOUND: Columns = ("image", "class", "score", "box")
_WIDTHS = {"box": 4}


@dataclass(frozen=True)
class Rows:
    """How a single output holds a box and its scores in each row.

    columns: in their order; `box` stands for four numbers, `scores` for `classes` numbers. across: a row is a column of
    the output, as in [1, 84, 8400].
    """

    columns: Columns
    across: bool
    classes: int

    def place(self, column: str) -> int:
        """Where a column begins; -1 where there is none."""
        at = 0
        for name in self.columns:
            if name == column:
                return at
            at += self.classes if name == "scores" else _WIDTHS.get(name, 1)
        return -1


@dataclass(frozen=True)
class Roles:
    """The places of the outputs by their roles: `boxes`, `classes`, `scores`, `count`, or `rows`.

    certain: whether it is known which of classes and scores is which; without it, frames have to show it.
    """

    places: Mapping[str, int]
    rows: Rows | None = None
    certain: bool = True


def find_roles(
    model: ModelSpec,
    facts: ModelFacts | None,
    given: Sequence[str],
    columns: Columns,
    labels: int,
    input_size: tuple[int, int],
) -> Roles:
    """Which output is which.

    Args:
        given: roles of the outputs in their order, as configured; empty: to be found out.
        columns: of the rows of a single output, as configured; empty: to be found out.
        labels: how many there are; 0: none.
        input_size: width and height of the model's picture.

    Raises:
        EdgeProblem: the outputs are not recognised as those of a detector.
    """
    specs = model.outputs
    if given:
        if len(given) > len(specs):
            raise EdgeProblem(
                f"modelIO.boxes.outputs names {len(given)} outputs, and model {model.name} has {len(specs)}"
            )
        return Roles({role: place for place, role in enumerate(given)})
    told = [one.role for one in facts.outputs] if facts else []
    names = [spec.name.decode(errors="replace") for spec in specs]
    found = None if columns else _of_operator(told) or _of_operator([_NAMED.get(name, "") for name in names])
    found = found or (None if columns else _by_name(specs, names) or _by_shape(specs))
    found = found or _in_rows(specs, columns, labels, input_size)
    if found is None:
        listed = ", ".join(f"{name} {spec}" for name, spec in zip(names, specs))
        raise EdgeProblem(
            f"model {model.name}: its outputs ({listed}) are not recognised as those of a detector; "
            "set modelIO.boxes.outputs, or modelIO.boxes.columns for a single output"
        )
    return found


def _of_operator(roles: Sequence[str]) -> Roles | None:
    """Roles that are told for each output."""
    found = {role: place for place, role in enumerate(roles) if role}
    return Roles(found) if {"boxes", "classes", "scores"} <= set(found) else None


def _by_name(specs: Sequence[TensorSpec], names: Sequence[str]) -> Roles | None:
    found: dict[str, int] = {}
    for place, name in enumerate(names):
        role = _role_in(name)
        if role:
            if role in found:
                return None
            found[role] = place
    if not {"boxes", "scores"} <= set(found) or not _fit(specs, found):
        return None
    unnamed = [place for place in range(len(specs)) if place not in found.values() and _is_count(specs[place])]
    return Roles({**found, "count": unnamed[0]} if len(unnamed) == 1 and "count" not in found else found)


def _fit(specs: Sequence[TensorSpec], found: Mapping[str, int]) -> bool:
    """Whether outputs with these roles may be a detector's."""
    boxes, scores = specs[found["boxes"]], specs[found["scores"]]
    if len(boxes.shape) < 2 or boxes.shape[-1] != 4:
        return False
    if "count" in found and not _is_count(specs[found["count"]]):
        return False
    if "classes" in found:
        return all(_one_a_row(specs[found[role]], boxes) for role in ("classes", "scores"))
    return _every_class(scores, boxes)


def _by_shape(specs: Sequence[TensorSpec]) -> Roles | None:
    boxes = [place for place, spec in enumerate(specs) if len(spec.shape) >= 2 and spec.shape[-1] == 4]
    if len(boxes) != 1:
        return None
    box = specs[boxes[0]]
    single = [place for place, spec in enumerate(specs) if place != boxes[0] and _one_a_row(spec, box)]
    several = [place for place, spec in enumerate(specs) if place != boxes[0] and _every_class(spec, box)]
    count = [place for place, spec in enumerate(specs) if _is_count(spec) and place not in single]
    counted = {"count": count[0]} if count else {}
    if len(single) == 2:
        return _pair(specs, {"boxes": boxes[0], **counted}, *single)
    if not single and len(several) == 1:
        return Roles({"boxes": boxes[0], "scores": several[0]})
    return None


def _pair(specs: Sequence[TensorSpec], others: Mapping[str, int], first: int, second: int) -> Roles:
    """Which of two outputs are classes and scores: names and whole numbers tell; otherwise it is left open."""
    for one, other in ((first, second), (second, first)):
        roles = [_role_in(specs[place].name.decode(errors="replace")) for place in (one, other)]
        whole = [specs[place].dtype in ("int32", "int64") for place in (one, other)]
        if roles[0] == "scores" != roles[1] or roles[1] == "classes" != roles[0] or whole == [False, True]:
            return Roles({**others, "classes": other, "scores": one})
    return Roles({**others, "classes": first, "scores": second}, certain=False)


def _role_in(name: str) -> str:
    """The role that the name of an output says; empty when it says none."""
    lower = name.lower()
    if any(word in lower for word in _OTHER_WORDS):
        return ""
    return next((role for word, role in _WORDS if word in lower), "")


def _is_count(spec: TensorSpec) -> bool:
    return len(spec.shape) <= 2 and not spec.is_open and spec.size == 1


def _one_a_row(spec: TensorSpec, boxes: TensorSpec) -> bool:
    """Whether there is one value for each box."""
    shape = spec.shape[:-1] if len(spec.shape) == len(boxes.shape) and spec.shape[-1] == 1 else spec.shape
    return len(shape) == len(boxes.shape) - 1 and _same(shape, boxes.shape[:-1])


def _every_class(spec: TensorSpec, boxes: TensorSpec) -> bool:
    """Whether there are the scores of all classes for each box."""
    rank = len(boxes.shape)
    return len(spec.shape) == rank and spec.shape[-1] > 0 and _same(spec.shape[:-1], boxes.shape[:-1])


def _same(one: Sequence[int], other: Sequence[int]) -> bool:
    return len(one) == len(other) and all(a == b or a < 1 or b < 1 for a, b in zip(one, other))


def _in_rows(specs: Sequence[TensorSpec], columns: Columns, labels: int, input_size: tuple[int, int]) -> Roles | None:
    """One output holds boxes and scores; beside it there may be labels of its boxes, or prototypes of masks."""
    place, masks = 0, 0
    if len(specs) == 2:
        first, second = specs
        if first.shape[-1] == 5 and _one_a_row(second, first):
            return Roles({"rows": 0, "classes": 1}, Rows(("box", "score"), across=False, classes=0))
        if len(second.shape) == 4 and len(first.shape) == 3:
            masks = min(second.shape[1], second.shape[3])
    if (len(specs) > 1 and not masks) or not 2 <= len(specs[place].shape) <= 4:
        return None
    shape = specs[place].shape
    *ones, high, wide = shape
    if any(side > 1 for side in ones):
        return None
    if len(shape) == 4 and wide == 7 and not columns:
        return Roles({"rows": place}, Rows(_SSD_FOUND, across=False, classes=0))
    across = _is_across(high, wide, input_size)
    rows, width = (wide, high) if across else (high, wide)
    if width < 5:
        return None
    columns = columns or _columns(shape, rows, width, across, labels, input_size)
    before = sum(_WIDTHS.get(name, 1) for name in columns if name != "scores")
    most = width - before - masks
    # What lies behind the classes of a network that has one more output for it: angles, points, masks.
    classes = min(labels, most) if labels and across else most
    if "scores" in columns and classes < 1:
        return None
    return Roles({"rows": place}, Rows(columns, across, classes if "scores" in columns else 0))


def _is_across(high: int, wide: int, input_size: tuple[int, int]) -> bool:
    """Whether the rows lie across, as in [1, 84, 8400]: there are as many as a grid has cells, or more than columns."""
    if high < 1 or wide < 1:
        return wide < 1
    cells = grid_sizes(input_size)
    if (high in cells) != (wide in cells):
        return wide in cells
    return wide > high or (wide == high and wide in cells)


def _columns(
    shape: Sequence[int], rows: int, width: int, across: bool, labels: int, input_size: tuple[int, int]
) -> Columns:
    if across:
        return _RAW
    if rows in grid_sizes(input_size):
        return _RAW if width in (5, 4 + labels) else _WITH_OBJECTNESS
    if width == 7 and len(shape) == 2:
        return _YOLO7_FOUND
    if width == 6:
        return _FOUND
    return _WITH_OBJECTNESS if labels and width == 5 + labels else _RAW


def grid_sizes(input_size: tuple[int, int]) -> set[int]:
    """How many boxes networks of YOLO's kind predict for a picture of this width and height."""
    cells = (sum((input_size[0] // one) * (input_size[1] // one) for one in strides) for strides in _STRIDES)
    return {anchors * cell for cell in cells for anchors in _ANCHORS}
