"""NaN and infinity in a detector's outputs: they lose the frame only where a value means something."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from edge.vision.test_detection import OPERATOR, WHOLE, model
from emflow_edge.outcome import NonFiniteOutput, Outcome
from emflow_edge.vision.detection import DetectionDecoder
from emflow_schema.edge_config import Boxes, ModelIO

BOX = (0.1, 0.2, 0.5, 0.6)
# A value of an output: the output's number, and the value's number in it.
Place = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """A detector whose first row is a thing, and whose second one is none, by its score.

    outputs: name and values. thing, scores, background: the places of what the first row holds beside its score, of
    all scores, and of what the second row holds beside its score.
    """

    outputs: tuple[tuple[bytes, np.ndarray], ...]
    thing: tuple[Place, ...]
    scores: tuple[Place, ...]
    background: tuple[Place, ...]
    io: dict[str, Any] = field(default_factory=dict)

    def decoded(self, places: tuple[Place, ...] = (), junk: float = 0.0) -> Outcome:
        """What is found when there is junk in these places."""
        outputs = [(name, one.copy()) for name, one in self.outputs]
        for output, number in places:
            outputs[output][1].reshape(-1)[number] = junk
        settings = ModelIO(**{"task": "detection", "threshold": 0.5, **self.io})
        return DetectionDecoder(model(*outputs), None, settings)([one.tobytes() for _, one in outputs], WHOLE)


def separate(*scores: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([[BOX] * len(scores)], np.float32), np.array([scores], np.float32)


def table(thing: tuple[float, ...], background: tuple[float, ...], across: bool = False) -> np.ndarray:
    """Nine rows: more than they have columns, by which it is recognised what is a row."""
    values = np.array([thing, *[background] * 8], np.float32)
    return np.ascontiguousarray((values.T if across else values)[None])


def columns(*names: Any) -> dict[str, Any]:
    return {"boxes": Boxes(columns=names, units="fraction")}


def at(output: int, *numbers: int) -> tuple[Place, ...]:
    return tuple((output, number) for number in numbers)


def operator() -> Layout:
    boxes = np.array([[BOX, BOX]], np.float32)
    one_a_row = {b":1": [[3, 3]], b":2": [[0.9, 0.1]], b":3": [2]}
    outputs = ((OPERATOR, boxes), *((OPERATOR + name, np.array(one, np.float32)) for name, one in one_a_row.items()))
    return Layout(outputs, (*at(0, 0, 1, 2, 3), (1, 0)), ((2, 0), (2, 1)), (*at(0, 4, 5, 6, 7), (1, 1)))


def raw() -> Layout:
    boxes, scores = separate((0.0, 0.9), (0.1, 0.0))
    return Layout(((b"boxes", boxes), (b"scores", scores)), at(0, 0, 1, 2, 3), at(1, 0, 1, 2, 3), at(0, 4, 5, 6, 7))


def raw_with_background_class() -> Layout:
    boxes, scores = separate((0.0, 0.9), (0.95, 0.0))
    outputs = ((b"boxes", boxes), (b"scores", scores))
    return Layout(outputs, at(0, 0), at(1, 0, 1, 2, 3), at(0, 4, 5, 6, 7), {"class_offset": 1})


def raw_rows() -> Layout:
    rows = table((*BOX, 0.0, 0.9), (*BOX, 0.1, 0.0))
    return Layout(
        ((b"rows", rows),), at(0, 0, 1, 2, 3), at(0, 4, 5, 10, 11), at(0, 6, 7, 8, 9), columns("box", "scores")
    )


def raw_rows_across_with_masks() -> Layout:
    # A row has a box, two scores, and two coefficients of masks.
    rows = table((*BOX, 0.0, 0.9, 1.0, 1.0), (*BOX, 0.1, 0.0, 1.0, 1.0), across=True)
    prototypes = np.zeros((1, 2, 5, 5), np.float32)
    outputs = ((b"rows", rows), (b"masks", prototypes))
    # Neither masks nor prototypes are read, also not those of a thing.
    unread = (*at(0, 6 * 9, 7 * 9), *at(1, 0))
    return Layout(outputs, at(0, 0, 9, 18, 27), at(0, 4 * 9, 5 * 9 + 1), (*at(0, 1, 10, 19, 28), *unread))


def rows_with_objectness() -> Layout:
    rows = table((*BOX, 0.95, 0.0, 0.95), (*BOX, 0.1, 0.9, 0.0))
    settings = columns("box", "objectness", "scores")
    return Layout(((b"rows", rows),), at(0, 0, 1, 2, 3), at(0, 4, 5, 6, 11), at(0, 7, 8, 9, 10), settings)


def rows_on_a_grid() -> Layout:
    # 300 / 8, 300 / 16 and 300 / 32 in both directions; sizes below -0.5 show that they are logarithms.
    values = np.zeros((1, 37 * 37 + 18 * 18 + 9 * 9, 7), np.float32)
    values[0, :, 2:4] = -1.5
    values[0, 0] = (5.0, 5.0, 1.0, 1.0, 0.95, 0.0, 0.95)
    settings = {"boxes": Boxes(columns=("box", "objectness", "scores"), units="pixels")}
    return Layout(((b"rows", values),), at(0, 0, 1, 2, 3), at(0, 4, 5, 11, 12), at(0, 7, 8, 9, 10), settings)


def found_rows() -> Layout:
    rows = table((*BOX, 0.9, 3.0), (*BOX, 0.1, 3.0))
    settings = columns("box", "score", "class")
    return Layout(((b"rows", rows),), at(0, 0, 1, 2, 3, 5), at(0, 4, 10), at(0, 6, 7, 8, 9, 11), settings)


def found_rows_of_pictures() -> Layout:
    rows = table((0.0, 3.0, 0.9, *BOX), (0.0, 3.0, 0.1, *BOX))
    settings = columns("image", "class", "score", "box")
    return Layout(((b"rows", rows),), at(0, 0, 1, 3, 4, 5, 6), at(0, 2, 9), at(0, 7, 8, 10, 11, 12, 13), settings)


def rows_with_labels_beside() -> Layout:
    outputs = ((b"dets", table((*BOX, 0.9), (*BOX, 0.1))), (b"labels", np.full((1, 9), 3, np.float32)))
    return Layout(outputs, (*at(0, 0, 1, 2, 3), (1, 0)), at(0, 4, 9), (*at(0, 5, 6, 7, 8), (1, 1)))


LAYOUTS = [
    operator,
    raw,
    raw_with_background_class,
    raw_rows,
    raw_rows_across_with_masks,
    rows_with_objectness,
    rows_on_a_grid,
    found_rows,
    found_rows_of_pictures,
    rows_with_labels_beside,
]
every_layout = pytest.mark.parametrize("layout", [pytest.param(one(), id=one.__name__) for one in LAYOUTS])
every_junk = pytest.mark.parametrize("junk", [float("nan"), float("inf"), float("-inf")])


@every_junk
@every_layout
def test_a_row_below_the_threshold_may_hold_anything_but_its_score(layout: Layout, junk: float) -> None:
    clean = layout.decoded()
    assert len(clean.detections or ()) == 1
    for place in layout.background:
        assert layout.decoded((place,), junk) == clean
    assert layout.decoded(layout.background, junk) == clean


@every_junk
@every_layout
def test_scores_and_what_a_thing_consists_of_have_to_be_finite(layout: Layout, junk: float) -> None:
    for output, number in (*layout.thing, *layout.scores):
        name = layout.outputs[output][0].decode()
        with pytest.raises(NonFiniteOutput, match=f"^1 of the \\d+ values in the model's output '{name}' are NaN or i"):
            layout.decoded(((output, number),), junk)


@every_junk
def test_a_box_that_is_no_number_teaches_nothing_about_a_grid(junk: float) -> None:
    layout = rows_on_a_grid()
    ((name, values),) = layout.outputs
    values[0, :, 2:4] = 30.0
    pixels = Layout(((name, values),), (), (), at(0, 9, 10), layout.io)
    assert pixels.decoded(pixels.background, junk) == pixels.decoded()
