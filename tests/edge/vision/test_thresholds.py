"""Confidences are float32, thresholds are not: a confidence that is the threshold reaches it, everywhere."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import emflow_edge
from edge.vision.test_detection import OVERLAPPING, found, raw
from emflow_edge.model_spec import ModelSpec, TensorSpec
from emflow_edge.outcome import ClassScore, Outcome, reaches
from emflow_edge.results.filters import ResultFilter
from emflow_edge.results.message import Result
from emflow_edge.vision.classification import ClassificationDecoder
from emflow_schema.edge_config import ModelIO, Publish

THRESHOLDS = st.one_of(
    st.floats(0, 1), st.integers(0, 1000).map(lambda thousandth: thousandth / 1000), st.sampled_from([0.7, 0.1, 0.3])
)


def passes(outcome: Outcome, threshold: float) -> bool:
    return ResultFilter().passes(Result("s", 0, 0.0, 0.0, 1.0, "m", "t", "1", outcome), Publish(threshold=threshold))


def classified(values: np.ndarray, threshold: float) -> Outcome:
    model = ModelSpec("net", TensorSpec(b"i", "uint8", (1, 9, 9, 3)), (TensorSpec(b"o", "float32", (1, len(values))),))
    settings = ModelIO(activation="none", threshold=threshold, top_k=5)
    return ClassificationDecoder(model, None, settings)([values.tobytes()])


@given(THRESHOLDS)
def test_a_confidence_that_is_the_threshold_reaches_it_everywhere(threshold: float) -> None:
    confidence = np.float32(threshold)
    second = classified(np.array([1, confidence], np.float32), threshold)
    assert [one.index for one in second.top] == [0, 1]
    assert passes(classified(np.array([confidence, 0], np.float32), threshold), threshold)
    if confidence > 0:
        outcome = found(*raw(np.array([[confidence], [0], [0]], np.float32), OVERLAPPING), threshold=threshold)
        assert len(outcome.detections or ()) == 1
        assert passes(outcome, threshold)


@given(THRESHOLDS)
def test_a_confidence_just_below_the_threshold_reaches_it_nowhere(threshold: float) -> None:
    below = np.nextafter(np.float32(threshold), np.float32(-1))
    if below < 0:
        return
    assert [one.index for one in classified(np.array([1, below], np.float32), threshold).top] == [0]
    assert not passes(classified(np.array([below, 0], np.float32), threshold), threshold)
    assert not found(*raw(np.array([[below], [0], [0]], np.float32), OVERLAPPING), threshold=threshold).detections


@given(st.floats(0, 1, width=32), THRESHOLDS)
def test_an_array_a_number_of_numpy_and_one_of_python_are_compared_alike(value: float, threshold: float) -> None:
    one = np.float32(value)
    assert (
        bool(reaches(one, threshold))
        == bool(reaches(float(one), threshold))
        == bool(reaches(np.array([one]), threshold)[0])
    )


def test_nothing_is_compared_with_a_threshold_anywhere_else() -> None:
    """A comparison with a threshold of the configuration by an operator depends on types, and on NumPy's version."""
    compared = []
    for path in Path(inspect.getfile(emflow_edge)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                names = [part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)]
                compared += [
                    f"{path.name}:{node.lineno}"
                    for name in names
                    if name.strip("_") in ("threshold", "least_confidence")
                ]
    assert compared == []


def test_nothing_found_passes_a_threshold_of_zero_and_no_other() -> None:
    nothing = Outcome((), ())
    assert [passes(nothing, 0.0), passes(nothing, 0.01)] == [True, False]
    assert passes(Outcome((ClassScore(1, None, 0.5),)), 0.5)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6, 0.7, 0.9])
def test_what_is_shown_as_the_threshold_is_published(threshold: float) -> None:
    outcome = classified(np.array([threshold, 0], np.float32), threshold)
    assert f"{outcome.top[0].confidence:.4f}" == f"{threshold:.4f}"
    assert passes(outcome, threshold)
