from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emflow_edge.model_spec import ModelMismatch, ModelSpec, TensorSpec, make_model_spec
from emflow_edge.outcome import ClassScore, NonFiniteOutput
from emflow_edge.vision.classification import ClassificationDecoder
from emflow_edge.vision.labels import read_labels
from emflow_schema.edge_config import ModelIO
from emflow_schema.errors import ConfigProblem, EdgeProblem
from emflow_schema.model_facts import ModelFacts, TensorFacts

PICTURE = TensorSpec(b"input", "uint8", (1, 224, 224, 3))


def model(dtype: str, classes: int) -> ModelSpec:
    return ModelSpec("net", PICTURE, (TensorSpec(b"output", dtype, (1, classes)),))


def facts(dtype: str, scale: float = 0.0, zero: int = 0, *, confidences: bool = False) -> ModelFacts:
    return ModelFacts((TensorFacts("uint8"),), (TensorFacts(dtype, scale, zero),), confidences)


class Decode(ClassificationDecoder):
    """The best classes of one output."""

    def __call__(self, data: bytes) -> tuple[ClassScore, ...]:  # type: ignore[override]
        return super().__call__([data]).top


def confidences(choices: tuple[ClassScore, ...]) -> dict[int, Any]:
    return {one.index: pytest.approx(one.confidence, abs=1e-6) for one in choices}


def test_quantised_logits_are_dequantised_then_softmaxed() -> None:
    decode = Decode(model("uint8", 3), facts("uint8", 0.5, 10), ModelIO())
    powers = np.exp([0.0, 1.0, 2.0])
    got = decode(bytes([10, 12, 14]))
    assert [one.index for one in got] == [2, 1, 0]
    assert [one.confidence for one in got] == pytest.approx((powers / powers.sum())[::-1].tolist())


def test_a_quantised_softmax_is_only_dequantised() -> None:
    decode = Decode(model("uint8", 3), facts("uint8", 1 / 256, 0, confidences=True), ModelIO())
    assert confidences(decode(bytes([10, 230, 16]))) == {1: 230 / 256, 2: 16 / 256, 0: 10 / 256}


def test_a_signed_output_comes_as_uint8_and_is_read_as_signed() -> None:
    decode = Decode(model("uint8", 2), facts("int8", 1 / 256, -128, confidences=True), ModelIO())
    assert confidences(decode(np.array([-128, 127], np.int8).tobytes())) == {1: 255 / 256, 0: 0}


def test_float_logits_of_a_compiled_model_get_softmax_probabilities_do_not() -> None:
    decode = Decode(model("float32", 2), None, ModelIO())
    assert confidences(decode(np.array([0.25, 0.75], np.float32).tobytes())) == {1: 0.75, 0: 0.25}
    assert decode(np.array([1000, 1003], np.float32).tobytes())[0].confidence == pytest.approx(
        1 / (1 + np.exp(-3)), abs=1e-6
    )


def test_bytes_of_a_compiled_model_without_a_scale_are_the_workshops_number() -> None:
    decode = Decode(model("uint8", 2), None, ModelIO())
    assert not decode.measured
    assert confidences(decode(bytes([58, 208]))) == {1: 208 / 255, 0: 58 / 255}


def test_what_is_done_to_the_output_can_be_said() -> None:
    values = np.array([0.25, 0.75], np.float32).tobytes()
    always = Decode(model("float32", 2), facts("float32", confidences=True), ModelIO(activation="softmax"))
    assert always(values)[0].confidence == pytest.approx(1 / (1 + np.exp(-0.5)), abs=1e-6)
    never = Decode(model("float32", 2), facts("float32"), ModelIO(activation="none"))
    assert never(values)[0].confidence == 0.75


@pytest.mark.parametrize("lines", [("a", "b"), ("background", "a", "b")])
def test_classes_before_the_offset_have_negative_indices_with_and_without_name(
    lines: tuple[str, ...], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(lines))
    io = ModelIO(class_offset=1, labels=str(labels))
    decode = Decode(model("float32", 3), facts("float32", confidences=True), io)
    first = None if len(lines) == 2 else "background"
    assert [(one.index, one.label) for one in decode(np.array([0.5, 0.2, 0.3], np.float32).tobytes())] == [
        (-1, first),
        (1, "b"),
        (0, "a"),
    ]


def test_the_best_class_is_always_reported_and_others_from_the_threshold_on() -> None:
    values = np.array([0.15, 0.45, 0.4], np.float32).tobytes()
    told = {
        threshold: Decode(model("float32", 3), None, ModelIO(threshold=threshold))(values) for threshold in (0.2, 0.9)
    }
    assert [one.index for one in told[0.2]] == [1, 2]
    assert [one.index for one in told[0.9]] == [1]


def test_the_workshops_confidence_is_the_raw_byte_whatever_the_file_says() -> None:
    decode = Decode(model("uint8", 3), facts("uint8", 0.5, 10), ModelIO(confidence="workshop"))
    assert confidences(decode(bytes([10, 12, 208]))) == {2: 208 / 255, 1: 12 / 255, 0: 10 / 255}
    signed = Decode(model("uint8", 2), facts("int8", 1 / 256, -128), ModelIO(confidence="workshop"))
    assert confidences(signed(bytes([58, 128]))) == {1: 128 / 255, 0: 58 / 255}


def test_the_best_class_of_a_signed_output_is_its_own_also_with_the_workshops_confidence() -> None:
    decode = Decode(model("uint8", 256), facts("int8"), ModelIO(confidence="workshop", top_k=256))
    got = decode(bytes(range(256)))
    assert [one.index for one in got] == [*range(127, -1, -1), *range(255, 127, -1)]
    assert confidences(got) == {byte: byte / 255 for byte in range(256)}


def test_classes_that_do_not_exclude_each_other_get_a_sigmoid() -> None:
    decode = Decode(model("float32", 2), None, ModelIO(activation="sigmoid"))
    assert confidences(decode(np.array([0, 100], np.float32).tobytes())) == {1: 1, 0: 0.5}


def test_of_two_equal_classes_the_lower_comes_first_and_only_the_best_are_reported() -> None:
    decode = Decode(model("uint8", 5), facts("uint8", 1 / 256, confidences=True), ModelIO(top_k=2))
    assert [one.index for one in decode(bytes([1, 9, 9, 9, 2]))] == [1, 2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("activation", ["auto", "softmax", "none"])
@pytest.mark.parametrize("known", [None, facts("float64")])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_no_number_is_no_result(value: float, known: ModelFacts | None, activation: Any) -> None:
    decode = Decode(model("float64", 3), known, ModelIO(activation=activation))
    with pytest.raises(NonFiniteOutput, match=r"1 of the 3 values in the model's output '.*' are NaN or infinite"):
        decode(np.array([0.25, value, 0.5], np.float64).tobytes())


@pytest.mark.filterwarnings("error")
def test_numbers_of_any_size_are_a_result() -> None:
    decode = Decode(model("float32", 3), None, ModelIO())
    assert confidences(decode(np.array([-3e38, 3e38, 0], np.float32).tobytes())) == {1: 1, 0: 0, 2: 0}
    assert sum(one.confidence for one in decode(np.array([3e38] * 3, np.float32).tobytes())) == pytest.approx(1)


def test_an_answer_of_another_size_is_reported() -> None:
    with pytest.raises(ModelMismatch, match=r"sent 8 bytes for an output of 12 \(float32 \[1, 3\]\)"):
        Decode(model("float32", 3), None, ModelIO())(bytes(8))


@pytest.mark.parametrize("text", ["cat\ndog\n", "background\ncat\ndog", "background\r\ncat\r\ndog\r\n\r\n"])
def test_labels_are_one_a_line_with_the_background_or_without(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    assert read_labels(path, classes=3, class_offset=1)[-2:] == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"cat\n", "has 1 lines, but the model has 3 classes"), (b"\xff\xfe", "not UTF-8"), (None, "No such file")],
)
def test_labels_that_do_not_fit_are_reported(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigProblem, match=message):
        read_labels(path, classes=3, class_offset=1)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (2, [(1, 10)], "2 inputs and 1 outputs"),
        (1, [], "1 inputs and 0 outputs"),
        (1, [(1, 10, 4)], r"\[1, 10, 4\] is no list of classes"),
        (1, [()], "is no list of classes"),
    ],
)
def test_a_model_that_is_no_classifier_is_reported(inputs: int, outputs: list[tuple[int, ...]], message: str) -> None:
    specs = tuple(TensorSpec(b"output", "float32", shape) for shape in outputs)
    with pytest.raises(EdgeProblem, match=message):
        ClassificationDecoder(make_model_spec("net", (PICTURE,) * inputs, specs), None, ModelIO())
