"""Whatever a model answers: it becomes a valid message, or is refused with a line that names the output."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.test_detection import OPERATOR, PICTURE, model
from emflow_edge.model_spec import ModelSpec, TensorSpec
from emflow_edge.outcome import NonFiniteOutput, Outcome
from emflow_edge.results.message import Result
from emflow_edge.vision.classification import ClassificationDecoder
from emflow_edge.vision.detection import DetectionDecoder
from emflow_edge.vision.learned import within_one
from emflow_edge.vision.preprocess import place_frame
from emflow_edge.vision.values import sigmoid, softmax
from emflow_schema.edge_config import Boxes, ModelIO

FLOATS = st.one_of(
    st.floats(width=32),
    st.sampled_from([0.0, 0.5, 1.0, -1.0, 3e38, -3e38, 1e-45, math.nan, math.inf, -math.inf]),
    st.floats(0, 1, width=32),
)
PLACEMENTS = st.builds(
    place_frame,
    st.sampled_from([(600, 300), (300, 600), (1, 900), (300, 300)]),
    st.just((300, 300)),
    st.sampled_from(["stretch", "letterbox", "crop"]),
)


def tensor(*shape: int) -> st.SearchStrategy[np.ndarray]:
    size = int(np.prod(shape))
    return st.lists(FLOATS, min_size=size, max_size=size).map(
        lambda values: np.array(values, np.float32).reshape(shape)
    )


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def check(outcome: Outcome) -> None:
    """Its message is JSON, its confidences and boxes lie where such things lie."""
    text = Result("s", 0, 0.0, 0.0, 1.0, "m", "t", "1", outcome).message(1.0)
    json.loads(text, parse_constant=refuse)
    for one in (*outcome.top, *(outcome.detections or ())):
        assert 0 <= one.confidence <= 1
    for thing in outcome.detections or ():
        assert thing.box.width > 0
        assert thing.box.height > 0
        assert 0 <= thing.box.x <= 1
        assert 0 <= thing.box.y <= 1


def finite(*values: np.ndarray) -> bool:
    return all(bool(np.isfinite(one).all()) for one in values)


def reach(scores: np.ndarray, threshold: float) -> np.ndarray:
    return (scores >= np.float32(threshold)) & (scores > 0)


def activated(scores: np.ndarray, activation: str) -> np.ndarray:
    """Confidences of the first frame of a model whose file says nothing."""
    if activation == "softmax":
        return softmax(scores)
    return sigmoid(scores) if activation == "sigmoid" or (activation == "auto" and not within_one(scores)) else scores


@given(tensor(1, 4), st.sampled_from(["auto", "none", "softmax", "sigmoid"]))
def test_any_classes_are_a_message_or_refused(values: np.ndarray, activation: Any) -> None:
    spec = ModelSpec("net", PICTURE, (TensorSpec(b"classes", "float32", values.shape),))
    decode = ClassificationDecoder(spec, None, ModelIO(activation=activation, top_k=4))
    if np.isfinite(values).all():
        check(decode([values.tobytes()]))
    else:
        with pytest.raises(NonFiniteOutput, match="output 'classes'"):
            decode([values.tobytes()])


@given(
    tensor(1, 5, 4), tensor(1, 5), tensor(1, 5), tensor(1), PLACEMENTS, st.sampled_from([0.0, 0.5]), st.integers(1, 3)
)
def test_any_things_are_a_message_or_refused(
    boxes: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    count: np.ndarray,
    placement: Any,
    least: float,
    most: int,
) -> None:
    outputs = [(OPERATOR, boxes), (OPERATOR + b":1", classes), (OPERATOR + b":2", scores), (OPERATOR + b":3", count)]
    decode = DetectionDecoder(
        model(*outputs), None, ModelIO(task="detection", threshold=least, boxes=Boxes(most=most, iou=0.5))
    )
    data = [one.tobytes() for _, one in outputs]
    counted = int(min(max(count[0], 0), 5)) if np.isfinite(count[0]) else 0
    reached = reach(scores[0, :counted], least)
    numbers, corners = classes[0, :counted][reached], boxes[0, :counted][reached]
    # The number of no class: what its box is does not matter.
    if finite(count, scores[:, :counted], numbers) and finite(corners[np.rint(numbers) >= 0]):
        outcome = decode(data, placement)
        check(outcome)
        assert len(outcome.detections or ()) <= most
    else:
        with pytest.raises(NonFiniteOutput, match=f"output '{OPERATOR.decode()}"):
            decode(data, placement)


@given(tensor(1, 5, 4), tensor(1, 5, 2), PLACEMENTS, st.sampled_from(["auto", "none", "softmax", "sigmoid"]))
def test_any_raw_detections_are_a_message_or_refused(
    boxes: np.ndarray, scores: np.ndarray, placement: Any, activation: Any
) -> None:
    outputs = [(b"boxes", boxes), (b"scores", scores)]
    for order in ("yxyx", "cxcywh"):
        settings = ModelIO(task="detection", threshold=0.1, activation=activation, boxes=Boxes(order=order))
        decode, data = DetectionDecoder(model(*outputs), None, settings), [one.tobytes() for _, one in outputs]
        if not finite(scores):
            with pytest.raises(NonFiniteOutput, match="output 'scores'"):
                decode(data, placement)
        elif finite(boxes[0][reach(activated(scores[0], activation), 0.1).any(axis=1)]):
            check(decode(data, placement))
        else:
            with pytest.raises(NonFiniteOutput, match="output 'boxes'"):
                decode(data, placement)


@given(tensor(1, 6, 6), PLACEMENTS, st.sampled_from([("box", "score", "class"), ("box", "objectness", "scores")]))
def test_any_rows_are_a_message_or_refused(table: np.ndarray, placement: Any, columns: Any) -> None:
    settings = ModelIO(task="detection", threshold=0.1, boxes=Boxes(columns=columns))
    decode = DetectionDecoder(model((b"rows", table)), None, settings)
    rows = table[0]
    if "class" in columns:
        # Of a row whose class is negative, nothing else matters.
        rows = rows[~(np.isfinite(rows[:, 5]) & (rows[:, 5] < 0))]
        scores, things = rows[:, 4], rows[reach(rows[:, 4], 0.1)]
    else:
        scores = rows[:, 4:]
        confidences = activated(np.nan_to_num(scores), "auto")
        things = rows[reach(confidences[:, 0] * confidences[:, 1], 0.1)]
    if finite(scores, things):
        check(decode([table.tobytes()], placement))
    else:
        with pytest.raises(NonFiniteOutput, match="output 'rows'"):
            decode([table.tobytes()], placement)
