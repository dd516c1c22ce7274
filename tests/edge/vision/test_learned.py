"""What frames show about a model is kept: a frame that fits several answers never turns it round."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from emflow_edge.model_spec import ModelSpec, TensorSpec
from emflow_edge.vision.classification import ClassificationDecoder
from emflow_edge.vision.detection import DetectionDecoder
from emflow_edge.vision.learned import LearnedProperties
from emflow_edge.vision.preprocess import place_frame
from emflow_schema.edge_config import Boxes, ModelIO
from emflow_schema.model_facts import ModelFacts, TensorFacts

PICTURE = TensorSpec(b"input", "float32", (1, 3, 64, 64))
WHOLE = place_frame((64, 64), (64, 64), "stretch")
BOXES = np.array([[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], [0.5, 0, 0.9, 0.3]], np.float32)
IO = ModelIO(task="detection", threshold=0.5)

Frame = tuple[Sequence[float], Sequence[float]]
"""Scores and classes of one frame."""

CLEAR: Frame = ([0.9, 0.6, 0], [3, 7, 0])
SURE: Frame = ([1, 1, 0], [3, 7, 0])
ONES: Frame = ([1, 1, 0], [1, 1, 0])
ZEROS: Frame = ([1, 1, 0], [0, 0, 0])
NOTHING: Frame = ([0, 0, 0], [0, 0, 0])
PADDED: Frame = ([0, 0, 0], [1, 1, 1])
FULL: Frame = ([1, 1, 1], [0, 0, 0])
"""Fits both, and for itself would be taken for nothing found."""


def detector(order: str, counted: bool, facts: ModelFacts | None = None) -> DetectionDecoder:
    """Outputs as TensorFlow 2 exports them, with names that say nothing."""
    shapes = {"s": (1, 3), "b": (1, 3, 4), "k": (1, 3), "n": (1,)}
    names = [one for one in order if counted or one != "n"]
    outputs = tuple(TensorSpec(b"Identity_%d" % at, "float32", shapes[one]) for at, one in enumerate(names))
    return DetectionDecoder(ModelSpec("net", PICTURE, outputs), facts, IO)


def found(decoder: DetectionDecoder, order: str, counted: bool, frame: Frame) -> list[tuple[int, float]]:
    scores, classes = (np.array(one, np.float32) for one in frame)
    count = np.array([int((scores > 0).sum())], np.float32)
    tensors = {"s": scores, "b": BOXES, "k": classes, "n": count}
    sent = [tensors[one].tobytes() for one in order if counted or one != "n"]
    detections = decoder(sent, WHOLE).detections or ()
    return [(one.index, pytest.approx(one.confidence, abs=1e-6)) for one in detections]  # type: ignore[misc]


def right(frame: Frame) -> list[tuple[int, float]]:
    return [(int(number), score) for score, number in zip(*frame) if score >= 0.5]


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("order", ["sbnk", "bksn", "ksbn"])
@pytest.mark.parametrize("first", [CLEAR, SURE], ids=["unsure", "sure"])
def test_what_one_frame_shows_holds_for_all_that_follow(first: Frame, order: str, counted: bool) -> None:
    decoder = detector(order, counted)
    for frame in (first, ONES, ZEROS, NOTHING, PADDED, FULL, SURE, ZEROS, CLEAR, ONES):
        assert found(decoder, order, counted, frame) == right(frame)


@pytest.mark.parametrize("order", ["sbnk", "bksn"])
def test_frames_that_decide_nothing_come_first_and_a_clear_one_still_decides(order: str) -> None:
    for before in itertools.permutations((ONES, ZEROS, NOTHING, PADDED)):
        decoder = detector(order, counted=True)
        for frame in (*before, SURE, ZEROS):
            assert found(decoder, order, True, frame) == right(frame)


def test_without_a_count_a_dark_picture_first_is_no_alarm() -> None:
    for order in ("sbnk", "bksn"):
        for frame in (NOTHING, PADDED):
            assert found(detector(order, counted=False), order, False, frame) == []


def test_numbers_above_1_are_no_scores_even_where_all_are_whole() -> None:
    assert found(detector("sbnk", True), "sbnk", True, SURE) == [(3, 1.0), (7, 1.0)]


def test_what_the_models_file_says_needs_no_frame() -> None:
    roles = tuple(TensorFacts("float32", role=role) for role in ("classes", "boxes", "count", "scores"))
    decoder = detector("kbns", True, ModelFacts((TensorFacts("float32"),), roles, confidences=False))
    assert found(decoder, "kbns", True, ([1, 1, 0], [1, 0, 0])) == [(1, 1.0), (0, 1.0)]


def test_rows_without_a_thing_may_be_negative() -> None:
    decoder = detector("sbnk", counted=False)
    for frame in (([0.9, -1, -1], [4, -1, -1]), ([1, -1, -1], [1, -1, -1]), ([1, 1, -1], [0, 0, -1])):
        assert found(decoder, "sbnk", False, frame) == right(frame)


RAW = ModelSpec(
    "net",
    PICTURE,
    (TensorSpec(b"a", "float32", (1, 3, 4)), TensorSpec(b"b", "float32", (1, 3, 2))),
)


def raw_confidences(decoder: DetectionDecoder, scores: Sequence[Sequence[float]]) -> list[float]:
    outcome = decoder([BOXES.tobytes(), np.array(scores, np.float32).tobytes()], WHOLE)
    return [one.confidence for one in outcome.detections or ()]


def test_a_raw_detector_gets_a_sigmoid_in_every_frame_once_one_has_shown_it() -> None:
    decoder = DetectionDecoder(RAW, None, IO)
    tame = [[0.9, 0.2], [0.1, 0.1], [0.1, 0.1]]
    assert raw_confidences(decoder, tame) == pytest.approx([0.9])
    assert raw_confidences(decoder, [[3, -4], [-4, -4], [-4, -4]]) == pytest.approx([0.9525741])
    assert raw_confidences(decoder, tame)[0] == pytest.approx(0.7109495)


def test_rounding_beyond_1_is_no_raw_value() -> None:
    decoder = DetectionDecoder(RAW, None, IO)
    assert raw_confidences(decoder, [[1.004, -0.004], [0, 0], [0, 0]]) == [1.0]
    assert raw_confidences(decoder, [[0.9, 0], [0, 0], [0, 0]]) == pytest.approx([0.9])


@pytest.mark.parametrize(("values", "confidence"), [("confidences", 0.9), ("raw", 0.7109495)])
def test_whether_a_raw_detector_needs_a_sigmoid_is_told_by_its_file(values: str, confidence: float) -> None:
    outputs = (TensorFacts("float32"), TensorFacts("float32", values=values))
    decoder = DetectionDecoder(RAW, ModelFacts((TensorFacts("float32"),), outputs, confidences=False), IO)
    assert raw_confidences(decoder, [[0.9, 0.2], [0.1, 0.1], [0.1, 0.1]])[0] == pytest.approx(confidence)


def classified(decoder: ClassificationDecoder, *values: float) -> float:
    return decoder([np.array(values, np.float32).tobytes()]).top[0].confidence


def test_a_classifier_keeps_its_softmax_or_its_lack_of_one() -> None:
    model = ModelSpec("net", PICTURE, (TensorSpec(b"y", "float32", (1, 3)),))
    ends_in_one = ClassificationDecoder(model, None, ModelIO())
    assert classified(ends_in_one, 0.1, 0.7, 0.2) == pytest.approx(0.7)
    # Quantised confidences may add up to less.
    assert classified(ends_in_one, 0.1, 0.5, 0.2) == pytest.approx(0.5)
    raw = ClassificationDecoder(model, None, ModelIO())
    assert classified(raw, 5, 1, 1) == pytest.approx(0.9647, abs=1e-4)
    assert classified(raw, 0.1, 0.7, 0.2) == pytest.approx(0.4640, abs=1e-4)


def test_what_was_learned_outlives_other_settings() -> None:
    learned = LearnedProperties()
    decoder = DetectionDecoder(RAW, None, IO, learned)
    raw_confidences(decoder, [[3, -4], [-4, -4], [-4, -4]])
    other = DetectionDecoder(RAW, None, ModelIO(task="detection", threshold=0.6), learned)
    assert raw_confidences(other, [[0.9, 0.2], [0.1, 0.1], [0.1, 0.1]]) == pytest.approx([0.7109495])


def test_pixels_are_recognised_by_the_first_thing_and_stay_pixels() -> None:
    decoder = DetectionDecoder(RAW, None, ModelIO(task="detection", threshold=0.5, boxes=Boxes(order="xyxy", iou=1)))

    def box(*corners: float) -> list[float]:
        boxes = np.zeros((1, 3, 4), np.float32)
        boxes[0, 0] = corners
        scores = np.array([[0.9, 0], [0, 0], [0, 0]], np.float32)
        (one,) = decoder([boxes.tobytes(), scores.tobytes()], WHOLE).detections or ()
        return [one.box.x, one.box.y, one.box.width, one.box.height]

    assert box(0.25, 0.25, 0.5, 0.5) == pytest.approx([0.25] * 4)
    assert box(16, 16, 32, 32) == pytest.approx([0.25] * 4)
    assert box(0, 0, 2, 2) == pytest.approx([0, 0, 1 / 32, 1 / 32])
