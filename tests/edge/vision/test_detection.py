from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emflow_edge.model_spec import ModelSpec, TensorSpec
from emflow_edge.outcome import NonFiniteOutput, Outcome
from emflow_edge.vision.detection import DetectionDecoder
from emflow_edge.vision.preprocess import place_frame
from emflow_schema.edge_config import Boxes, ModelIO
from emflow_schema.errors import EdgeProblem
from emflow_schema.model_facts import ModelFacts, TensorFacts

PICTURE = TensorSpec(b"input", "uint8", (1, 300, 300, 3))
WHOLE = place_frame((600, 600), (300, 300), "stretch")
OPERATOR = b"TFLite_Detection_PostProcess"

BOXES = np.array(
    [[[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]]], np.float32
)  # top, left, bottom, right
CLASSES = np.array([[17, 0, 17]], np.float32)
SCORES = np.array([[0.9, 0.8, 0.3]], np.float32)
COUNT = np.array([3], np.float32)


def model(*outputs: tuple[bytes, np.ndarray]) -> ModelSpec:
    return ModelSpec("net", PICTURE, tuple(TensorSpec(name, one.dtype.name, one.shape) for name, one in outputs))


def found(*outputs: tuple[bytes, np.ndarray], facts: ModelFacts | None = None, **io: Any) -> Outcome:
    settings = ModelIO(**{"task": "detection", "threshold": 0.5, **io})
    return DetectionDecoder(model(*outputs), facts, settings)([one.tobytes() for _, one in outputs], WHOLE)


def things(outcome: Outcome) -> list[tuple[int, Any]]:
    assert outcome.detections is not None
    return [(one.index, pytest.approx(one.confidence, abs=1e-6)) for one in outcome.detections]


def operator(count: np.ndarray = COUNT) -> list[tuple[bytes, np.ndarray]]:
    return [(OPERATOR, BOXES), (OPERATOR + b":1", CLASSES), (OPERATOR + b":2", SCORES), (OPERATOR + b":3", count)]


def test_tensorflow_lites_detection_operator_is_understood() -> None:
    outcome = found(*operator())
    assert things(outcome) == [(17, 0.9), (0, 0.8)]
    box = outcome.detections[0].box  # type: ignore[index]
    assert (box.x, box.y, box.width, box.height) == pytest.approx((0.2, 0.1, 0.4, 0.4))


def test_what_lies_after_the_count_is_not_there() -> None:
    assert things(found(*operator(np.array([1], np.float32)))) == [(17, 0.9)]
    assert found(*operator(np.array([0], np.float32))) == Outcome((), ())


@pytest.mark.parametrize("order", ["classes first", "scores first"])
@pytest.mark.parametrize("counted", [True, False])
def test_outputs_in_another_order_are_recognised_by_shape_and_content(order: str, counted: bool) -> None:
    pair = [(b"a", CLASSES), (b"b", SCORES)]
    pair = pair if order == "classes first" else pair[::-1]
    outputs = [pair[0], (b"c", BOXES), pair[1], *([(b"d", COUNT)] if counted else [])]
    assert things(found(*outputs)) == [(17, 0.9), (0, 0.8)]


def test_a_detector_of_one_box_is_understood() -> None:
    outputs = [
        (b"boxes", BOXES[:, :1]),
        (b"classes", CLASSES[:, :1]),
        (b"scores", SCORES[:, :1]),
        (b"n", np.array([1], np.float32)),
    ]
    assert things(found(*outputs)) == [(17, 0.9)]


def test_the_configuration_says_which_output_is_which_where_nothing_else_does() -> None:
    outputs = [
        (b"a", BOXES),
        (b"b", np.array([[0.9, 0.8, 0.3]], np.float32)),
        (b"c", np.array([[1, 1, 1]], np.float32)),
    ]
    assert things(found(*outputs, boxes=Boxes(outputs=("boxes", "scores", "classes")))) == [(1, 0.9), (1, 0.8)]


def raw(scores: np.ndarray, boxes: np.ndarray) -> list[tuple[bytes, np.ndarray]]:
    return [(b"boxes", np.array([boxes], np.float32)), (b"scores", np.array([scores], np.float32))]


OVERLAPPING = np.array([[0.1, 0.1, 0.5, 0.5], [0.12, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]], np.float32)


def test_overlapping_boxes_of_a_raw_detector_are_suppressed_within_a_class() -> None:
    outputs = raw(np.array([[0, 0.7, 0], [0, 0.9, 0.6], [0, 0.8, 0]], np.float32), OVERLAPPING)
    assert things(found(*outputs, class_offset=1)) == [(0, 0.9), (0, 0.8), (1, 0.6)]
    assert things(found(*outputs, class_offset=1, boxes=Boxes(iou=1.0))) == [(0, 0.9), (0, 0.8), (0, 0.7), (1, 0.6)]


def test_the_background_class_of_a_raw_detector_is_no_thing() -> None:
    assert things(
        found(*raw(np.array([[0.9, 0.05], [0.1, 0.9], [0.95, 0]], np.float32), OVERLAPPING), class_offset=1)
    ) == [(0, 0.9)]


def test_raw_values_become_confidences() -> None:
    outputs = raw(np.array([[-9, 2], [-9, -9], [-9, -9]], np.float32), OVERLAPPING)
    assert things(found(*outputs)) == [(1, 1 / (1 + np.exp(-2)))]
    assert things(found(*outputs, activation="softmax"))[0][0] == 1


def test_centres_and_sizes_in_pixels_are_understood() -> None:
    outcome = found(
        *raw(np.array([[0.9]], np.float32), np.array([[150, 75, 60, 30]])), boxes=Boxes(order="cxcywh", units="pixels")
    )
    box = outcome.detections[0].box  # type: ignore[index]
    assert (box.x, box.y, box.width, box.height) == pytest.approx((0.4, 0.2, 0.2, 0.1))


def test_quantised_outputs_are_read_with_the_files_scales() -> None:
    outputs = [(b"boxes", np.array([[[0, 0, 128, 255]]], np.uint8)), (b"scores", np.array([[[20, 200]]], np.uint8))]
    scales = (TensorFacts("uint8", 1 / 255), TensorFacts("uint8", 1 / 256))
    outcome = found(*outputs, facts=ModelFacts((TensorFacts("uint8"),), scales, confidences=False))
    assert things(outcome) == [(1, 200 / 256)]
    assert outcome.detections[0].box.height == pytest.approx(128 / 255)  # type: ignore[index]


def test_at_most_so_many_are_reported_and_the_classes_once_each() -> None:
    rng = np.random.default_rng(0)
    corners = np.sort(rng.random((50, 2, 2)), axis=1).reshape(50, 4)
    outcome = found(*raw(rng.random((50, 3)), corners), threshold=0.1, boxes=Boxes(most=7, iou=0.99), top_k=2)
    assert len(outcome.detections or ()) == 7
    best: dict[Any, Any] = {}
    for one in outcome.detections or ():
        best.setdefault(one.index, one.confidence)
    assert [(one.index, one.confidence) for one in outcome.top] == list(best.items())[:2]


def test_labels_name_what_was_found(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"thing {number}" for number in range(18)))
    assert [one.label for one in found(*operator(), labels=labels).detections or ()] == ["thing 17", "thing 0"]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            [(b"a", np.zeros((1, 1001), np.float32))],
            r"a float32 \[1, 1001\]\) are not recognised as those of a detector",
        ),
        ([(b"a", BOXES), (b"b", BOXES)], "not recognised as those of a detector"),
        ([(b"a", BOXES), (b"b", np.zeros((1, 5), np.float32))], "not recognised as those of a detector"),
    ],
)
def test_outputs_of_something_else_are_reported(outputs: list[tuple[bytes, np.ndarray]], message: str) -> None:
    with pytest.raises(EdgeProblem, match=message):
        found(*outputs)


def test_configured_outputs_that_do_not_go_together_are_reported() -> None:
    outputs = [(b"a", BOXES), (b"b", np.zeros((1, 5), np.float32))]
    with pytest.raises(EdgeProblem, match="do not go together"):
        found(*outputs, boxes=Boxes(outputs=("boxes", "scores")))


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize("junk", [NAN, INFINITY, -INFINITY])
def test_what_lies_after_the_count_may_be_no_number(junk: float) -> None:
    boxes, classes, scores = BOXES.copy(), CLASSES.copy(), SCORES.copy()
    boxes[0, 2], classes[0, 2], scores[0, 2] = junk, junk, junk
    outputs = [
        (OPERATOR, boxes),
        (OPERATOR + b":1", classes),
        (OPERATOR + b":2", scores),
        (OPERATOR + b":3", np.array([2], np.float32)),
    ]
    assert things(found(*outputs)) == [(17, 0.9), (0, 0.8)]


@pytest.mark.parametrize("place", range(4))
def test_what_is_counted_has_to_be_finite_and_the_output_is_named(place: int) -> None:
    outputs = [(name, one.copy()) for name, one in operator()]
    outputs[place][1].reshape(-1)[0] = NAN
    name = outputs[place][0].decode()
    with pytest.raises(NonFiniteOutput, match=f"^1 of the \\d+ values in the model's output '{name}' are NaN or infin"):
        found(*outputs)


def test_rows_after_the_count_of_a_raw_detector_are_not_there_either() -> None:
    scores = np.array([[0, 0.9], [0.8, 0], [NAN, 0.95]], np.float32)
    outputs = [*raw(scores, OVERLAPPING), (b"n", np.array([2], np.float32))]
    roles = Boxes(outputs=("boxes", "scores", "count"), iou=1.0)
    assert things(found(*outputs, boxes=roles)) == [(1, 0.9), (0, 0.8)]


def test_rows_of_a_single_output_without_a_thing_may_hold_anything() -> None:
    table = np.array([[[10, 10, 90, 90, 0.9, 3], *([[NAN, INFINITY, 0, 0, NAN, -1]] * 6)]], np.float32)
    columns = Boxes(columns=("box", "score", "class"), units="pixels")
    assert things(found((b"rows", table), boxes=columns)) == [(3, 0.9)]
    table[0, 1, 5] = NAN
    with pytest.raises(NonFiniteOutput, match="'rows'"):
        found((b"rows", table), boxes=columns)


def test_boxes_in_the_margins_take_no_place_of_what_is_in_the_frame() -> None:
    letterbox = place_frame((600, 300), (300, 300), "letterbox")
    # Above the frame, which fills the middle half; and three things in it, less sure.
    margins = [[0.0, 0.1 * x, 0.2, 0.1 * x + 0.1] for x in range(5)]
    inside = [[0.3, 0.3 * x, 0.7, 0.3 * x + 0.2] for x in range(3)]
    scores = np.array([[0.9]] * 5 + [[0.8], [0.7], [0.6]], np.float32)
    outputs = raw(scores, np.array(margins + inside))
    for iou in (None, 1.0):
        settings = ModelIO(task="detection", threshold=0.5, boxes=Boxes(most=3, iou=iou), resize="letterbox")
        decode = DetectionDecoder(model(*outputs), None, settings)
        outcome = decode([one.tobytes() for _, one in outputs], letterbox)
        assert things(outcome) == [(0, 0.8), (0, 0.7), (0, 0.6)]


def test_a_box_in_the_margins_suppresses_none_in_the_frame() -> None:
    letterbox = place_frame((600, 300), (300, 300), "letterbox")
    boxes = np.array([[0.0, 0.0, 0.25, 0.5], [0.0, 0.0, 0.3, 0.5]])
    outputs = raw(np.array([[0.9], [0.8]], np.float32), boxes)
    settings = ModelIO(task="detection", threshold=0.5, resize="letterbox")
    outcome = DetectionDecoder(model(*outputs), None, settings)([one.tobytes() for _, one in outputs], letterbox)
    assert things(outcome) == [(0, 0.8)]
