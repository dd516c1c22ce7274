"""Detectors as their tools export them: which output is which, and what a row of a single output holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emflow_edge.model_spec import ModelMismatch, ModelSpec, TensorSpec
from emflow_edge.outcome import Outcome
from emflow_edge.vision.classification import ClassificationDecoder
from emflow_edge.vision.detection import DetectionDecoder
from emflow_edge.vision.preprocess import place_frame
from emflow_schema.edge_config import Boxes, ModelIO
from emflow_schema.errors import EdgeProblem

# A thing of class 2 in the left upper part of a picture of 320 x 320 pixels: centre (96, 64), 64 x 32 pixels.
SIDE = 320
CENTRE = np.array([96, 64, 64, 32], np.float32)
CORNERS = np.array([64, 48, 128, 80], np.float32)
PLACE = (0.2, 0.15, 0.2, 0.1)
CELLS = 40 * 40 + 20 * 20 + 10 * 10
WHOLE = place_frame((640, 640), (SIDE, SIDE), "stretch")

Outputs = list[tuple[str, np.ndarray]]


def decoded(outputs: Outputs, shapes: dict[str, tuple[int, ...]] | None = None, **io: Any) -> Outcome:
    specs = tuple(
        TensorSpec(name.encode(), one.dtype.name, (shapes or {}).get(name, one.shape)) for name, one in outputs
    )
    model = ModelSpec("net", TensorSpec(b"images", "float32", (1, 3, SIDE, SIDE)), specs)
    decoder = DetectionDecoder(model, None, ModelIO(**{"task": "detection", **io}))
    return decoder([one.tobytes() for _, one in outputs], WHOLE)


def one_thing(outcome: Outcome, index: int = 2, confidence: float = 0.9) -> None:
    (thing,) = outcome.detections or ()
    box = thing.box
    assert (thing.index, thing.confidence) == (index, pytest.approx(confidence, abs=1e-3))
    assert (box.x, box.y, box.width, box.height) == pytest.approx(PLACE, abs=1e-5)


def rows(count: int, width: int, **columns: Any) -> np.ndarray:
    """Rows of background, of which the one in the middle has these columns (`at0_4` is a slice)."""
    table = np.zeros((count, width), np.float32)
    table[:, 2:4] = 10
    for name, value in columns.items():
        first, _, last = name.removeprefix("at").partition("_")
        table[count // 2, int(first) : int(last or int(first) + 1)] = value
    return table


@pytest.mark.parametrize("units", [1, SIDE], ids=["pixels", "fractions"])
def test_yolo_8_and_later_have_a_box_and_its_scores_in_each_column(units: int) -> None:
    table = rows(CELLS, 84, at0_4=CENTRE, at6=0.9)
    table[:, :4] /= units
    one_thing(decoded([("output0", table.T[None].copy())]))


def test_yolo_8_with_masks_has_them_behind_its_scores() -> None:
    table = rows(CELLS, 84 + 32, at0_4=CENTRE, at6=0.9, at84_116=5.0)
    prototypes = np.zeros((1, 32, 80, 80), np.float32)
    one_thing(decoded([("output0", table.T[None].copy()), ("output1", prototypes)]))


def test_points_behind_the_scores_are_left_out_where_labels_tell_the_classes(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("person\n")
    table = rows(CELLS, 4 + 1 + 51, at0_4=CENTRE, at4=0.9, at5_56=100.0)
    one_thing(decoded([("output0", table.T[None].copy())], labels=str(labels)), index=0)


@pytest.mark.parametrize("anchors", [1, 3], ids=["YOLOX, YOLOv6", "YOLOv5, YOLOv7"])
@pytest.mark.parametrize("classes", [80, 1])
def test_rows_with_an_objectness_have_the_product_as_confidence(anchors: int, classes: int) -> None:
    index = min(2, classes - 1)
    table = rows(anchors * CELLS, 5 + classes, at0_4=CENTRE, at4=0.95, **{f"at{5 + index}": 0.9473684})
    one_thing(decoded([("output", table[None])]), index=index)


def test_yolox_is_exported_relative_to_its_grid() -> None:
    table = np.zeros((CELLS, 85), np.float32)
    table[:, 2:4] = -1.5
    # Cell (11, 7) of the grid with stride 8.
    table[7 * 40 + 11, :4] = [96 / 8 - 11, 64 / 8 - 7, np.log(64 / 8), np.log(32 / 8)]
    table[7 * 40 + 11, [4, 7]] = [0.95, 0.9473684]
    one_thing(decoded([("output", table[None])]))


@pytest.mark.parametrize("size", [(1, 300), (1, 100)])
def test_models_that_suppress_boxes_themselves_have_score_and_class_in_a_row(size: tuple[int, int]) -> None:
    table = rows(size[1], 6, at0_4=CORNERS, at4=0.9, at5=2)
    one_thing(decoded([("output0", table[None])]))


def test_rows_of_transformers_have_scores_of_every_class() -> None:
    table = rows(300, 84, at0_4=CENTRE / SIDE, at6=0.9)
    one_thing(decoded([("output0", table[None])]))


def test_as_many_rows_as_things_may_have_the_number_of_the_picture() -> None:
    table = np.array([[0, *CORNERS, 2, 0.9]], np.float32)
    one_thing(decoded([("output", table)], {"output": (-1, 7)}))
    assert decoded([("output", table[:0])], {"output": (-1, 7)}) == Outcome((), ())


def test_ssds_detection_output_is_understood() -> None:
    table = np.full((1, 1, 200, 7), -1, np.float32)
    table[0, 0, 0] = [0, 2, 0.9, *(CORNERS / SIDE)]
    one_thing(decoded([("detection_out", table)]))


def test_boxes_with_their_scores_go_with_labels_in_another_output() -> None:
    table = rows(100, 5, at0_4=CORNERS, at4=0.9)
    labels = np.full((1, 100), 2, np.int64)
    one_thing(decoded([("dets", table[None]), ("labels", labels)]))
    open_sizes = {"dets": (1, -1, 5), "labels": (1, -1)}
    one_thing(decoded([("dets", table[None, 50:51]), ("labels", labels[:, :1])], open_sizes))


def test_columns_that_are_configured_are_read_as_they_are() -> None:
    table = rows(100, 6, at0=2, at1=0.9, at2_6=CORNERS)
    table[:, 4:] = np.where(table[:, 4:] == 0, 0, table[:, 4:])
    one_thing(decoded([("out", table)], boxes=Boxes(columns=("class", "score", "box"))))


@pytest.mark.parametrize("found", [0, 1, 3])
def test_torchvisions_detectors_have_as_many_rows_as_things(found: int) -> None:
    boxes, scores = np.repeat(CORNERS[None], found, 0), np.full(found, 0.9, np.float32)
    labels = np.full(found, 2, np.int64)
    outputs: Outputs = [("boxes", boxes), ("labels", labels), ("scores", scores)]
    shapes = {"boxes": (-1, 4), "labels": (-1,), "scores": (-1,)}
    outcome = decoded(outputs, shapes, boxes=Boxes(order="xyxy"))
    assert [(one.index, pytest.approx(one.confidence)) for one in outcome.detections or ()] == [(2, 0.9)] * found


def test_whole_numbers_of_a_type_without_fractions_are_classes() -> None:
    outputs: Outputs = [
        ("6379", CORNERS[None]),
        ("6381", np.array([1], np.int64)),
        ("6383", np.array([1.0], np.float32)),
    ]
    one_thing(decoded(outputs, boxes=Boxes(order="xyxy")), index=1, confidence=1.0)


def test_tensorflows_model_zoo_has_more_outputs_than_those_that_count() -> None:
    yxyx = CORNERS[[1, 0, 3, 2]] / SIDE
    outputs: Outputs = [
        ("detection_anchor_indices", np.zeros((1, 3), np.float32)),
        ("detection_boxes", np.array([[yxyx, yxyx, yxyx]])),
        ("detection_classes", np.array([[2, 1, 1]], np.float32)),
        ("detection_multiclass_scores", np.zeros((1, 3, 91), np.float32)),
        ("detection_scores", np.array([[0.9, 1, 1]], np.float32)),
        ("num_detections", np.array([1], np.float32)),
        ("raw_detection_boxes", np.zeros((1, 50, 4), np.float32)),
        ("raw_detection_scores", np.zeros((1, 50, 91), np.float32)),
    ]
    one_thing(decoded(outputs))


def test_tensorrts_operator_has_a_count_with_a_batch() -> None:
    outputs: Outputs = [
        ("num_dets", np.array([[1]], np.int32)),
        ("det_boxes", np.array([[CORNERS, CORNERS]])),
        ("det_scores", np.array([[0.9, 1]], np.float32)),
        ("det_classes", np.array([[2, 2]], np.int32)),
    ]
    one_thing(decoded(outputs, boxes=Boxes(order="xyxy")))


def test_names_tell_scores_where_all_are_whole() -> None:
    outputs: Outputs = [
        ("scores", np.array([[1.0]], np.float32)),
        ("boxes", CORNERS[[1, 0, 3, 2]][None, None] / SIDE),
        ("classes", np.array([[0.0]], np.float32)),
    ]
    one_thing(decoded(outputs), index=0, confidence=1.0)


@pytest.mark.parametrize("shape", [(1, 4, 8400), (1, 255, 40, 40), (1, 1001), (3, 300, 6)])
def test_other_outputs_are_refused_with_what_to_set(shape: tuple[int, ...]) -> None:
    with pytest.raises(EdgeProblem, match=r"set modelIO\.boxes\.outputs, or modelIO\.boxes\.columns"):
        decoded([("output", np.zeros(shape, np.float32))])


def test_an_answer_that_is_no_whole_number_of_rows_is_reported() -> None:
    with pytest.raises(ModelMismatch, match=r"sent 8 values for an output of float32 \[\?, 7\]"):
        decoded([("output", np.zeros(8, np.float32))], {"output": (-1, 7)})


def classified(shape: tuple[int, ...], values: list[float], **io: Any) -> list[tuple[int, Any]]:
    model = ModelSpec("net", TensorSpec(b"x", "float32", (1, 3, 8, 8)), (TensorSpec(b"y", "float32", shape),))
    decoder = ClassificationDecoder(model, None, ModelIO(**io))
    top = decoder([np.array(values, np.float32).tobytes()]).top
    return [(one.index, pytest.approx(one.confidence, abs=1e-6)) for one in top]


@pytest.mark.parametrize("shape", [(1, 3), (3,), (1, 3, 1, 1), (1, 1, 1, 3), (-1, 3), (-1, 3, 1, 1)])
def test_classes_may_lie_along_any_side(shape: tuple[int, ...]) -> None:
    assert classified(shape, [0.1, 0.7, 0.2]) == [(1, 0.7), (2, 0.2), (0, 0.1)]


@pytest.mark.parametrize("shape", [(1, 1), (1,), (1, 1, 1, 1), (-1, 1)])
def test_a_single_value_is_the_confidence_of_the_second_class(shape: tuple[int, ...]) -> None:
    assert classified(shape, [0.8]) == [(1, 0.8), (0, 0.2)]
    assert classified(shape, [0.3]) == [(0, 0.7), (1, 0.3)]
    raw = 1 / (1 + np.exp(-3))
    assert classified(shape, [3.0]) == [(1, raw), (0, 1 - raw)]
    assert classified(shape, [0.0], activation="sigmoid") == [(0, 0.5), (1, 0.5)]


def test_a_single_value_has_labels_for_both_classes_or_for_the_second(tmp_path: Path) -> None:
    model = ModelSpec("net", TensorSpec(b"x", "float32", (1, 3, 8, 8)), (TensorSpec(b"y", "float32", (1, 1)),))
    for text, names in (("cat\ndog\n", ["dog", "cat"]), ("dog\n", ["dog", None])):
        (tmp_path / "labels.txt").write_text(text)
        decoder = ClassificationDecoder(model, None, ModelIO(labels=str(tmp_path / "labels.txt")))
        assert [one.label for one in decoder([np.float32(0.8).tobytes()]).top] == names
