from __future__ import annotations

import cv2
import numpy as np
import pytest

from emflow_edge.model_spec import TensorSpec
from emflow_edge.vision.preprocess import Preprocessor
from emflow_schema.configuration import Channels
from emflow_schema.edge_config import ModelIO
from emflow_schema.errors import EdgeProblem
from emflow_schema.model_facts import TensorFacts

RNG = np.random.default_rng(0)


def picture(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


def prepared(
    frame: np.ndarray, dtype: str, shape: tuple[int, ...], stored: TensorFacts | None = None, io: ModelIO | None = None
) -> np.ndarray:
    preprocess = Preprocessor(TensorSpec(b"input", dtype, shape), stored, io or ModelIO())
    return np.frombuffer(preprocess(frame), dtype).reshape(shape)


def test_opencvs_bgr_becomes_the_rgb_that_the_model_was_trained_on() -> None:
    frame = picture(8, 8)
    assert np.array_equal(prepared(frame, "uint8", (1, 8, 8, 3))[0], frame[..., ::-1])


def test_a_model_that_was_trained_on_bgr_gets_it() -> None:
    frame = picture(8, 8)
    assert np.array_equal(prepared(frame, "uint8", (1, 8, 8, 3), io=ModelIO(color="bgr"))[0], frame)


def test_frames_of_any_size_are_stretched_to_the_models_height_and_width() -> None:
    preprocess = Preprocessor(TensorSpec(b"input", "uint8", (1, 24, 32, 3)), None, ModelIO())
    for height, width in ((480, 640), (24, 32), (7, 900), (1080, 1920)):
        frame = picture(height, width)
        small_integer = cv2.resize(frame, (32, 24), interpolation=cv2.INTER_LINEAR)
        got = np.frombuffer(preprocess(frame), np.uint8).reshape(24, 32, 3)
        assert np.array_equal(got, small_integer[..., ::-1])


def test_floats_are_normalised_by_mean_and_deviation_in_the_models_order() -> None:
    frame = picture(4, 4)
    io = ModelIO(mean=Channels((123.7, 116.3, 103.5)), std=Channels((58.4, 57.1, 57.4)))
    expected = (frame[..., ::-1].astype(np.float64) - np.array(io.mean)) / np.array(io.std)
    np.testing.assert_allclose(prepared(frame, "float32", (1, 4, 4, 3), io=io)[0], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 4, 4, 3), (1, 3, 4, 4)])
def test_half_floats_are_normalised_like_floats(shape: tuple[int, ...]) -> None:
    frame = picture(4, 4)
    half, whole = (prepared(frame, dtype, shape) for dtype in ("float16", "float32"))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, whole, atol=1e-3)


def test_floats_go_from_minus_one_to_one_by_default() -> None:
    frame = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert prepared(frame, "float32", (1, 1, 2, 3)).ravel().tolist() == pytest.approx([-1, -1, -1, 1, 1, 1])


def test_a_signed_model_gets_pixels_128_lower() -> None:
    frame = picture(4, 4)
    got = prepared(frame, "uint8", (1, 4, 4, 3), stored=TensorFacts("int8")).view(np.int8)
    assert np.array_equal(got[0], frame[..., ::-1].astype(np.int16) - 128)


def test_channels_come_first_where_the_model_has_them_first() -> None:
    frame = picture(4, 6)
    assert np.array_equal(prepared(frame, "uint8", (1, 3, 4, 6))[0], frame[..., ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(1, 1001), (2, 224, 224, 3), (1, 224, 224, 4), (1, 0, 224, 3), (224, 224, 3), ()])
def test_an_input_that_is_no_picture_is_reported(shape: tuple[int, ...]) -> None:
    with pytest.raises(EdgeProblem, match="is no single picture"):
        Preprocessor(TensorSpec(b"input", "uint8", shape), None, ModelIO())


def test_an_input_type_that_no_picture_goes_into_is_reported() -> None:
    with pytest.raises(EdgeProblem, match="input is int64"):
        Preprocessor(TensorSpec(b"input", "int64", (1, 8, 8, 3)), None, ModelIO())


def test_a_letterbox_keeps_the_frames_shape_between_margins() -> None:
    io = ModelIO(color="bgr", resize="letterbox", margin=114)
    got = prepared(np.full((10, 40, 3), 200, np.uint8), "uint8", (1, 20, 20, 3), io=io)[0]
    assert (got[8 : 13 - 1] == 200).all()
    assert (got[:7] == 114).all()
    assert (got[14:] == 114).all()


def test_margins_are_clean_again_when_the_frames_shape_changes() -> None:
    preprocess = Preprocessor(TensorSpec(b"input", "uint8", (1, 20, 20, 3)), None, ModelIO(resize="letterbox"))
    preprocess(np.full((40, 10, 3), 200, np.uint8))
    got = np.frombuffer(preprocess(np.full((10, 40, 3), 100, np.uint8)), np.uint8).reshape(20, 20, 3)
    assert set(np.unique(got)) == {0, 100}


def test_a_crop_takes_the_middle_of_the_frame() -> None:
    frame = np.zeros((10, 30, 3), np.uint8)
    frame[:, 10:20] = 255
    assert (prepared(frame, "uint8", (1, 5, 5, 3), io=ModelIO(resize="crop")) == 255).all()


def test_a_model_of_grey_pictures_gets_one_channel() -> None:
    frame = picture(6, 8)
    got = prepared(frame, "uint8", (1, 6, 8, 1))
    assert np.array_equal(got[0, ..., 0], cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 114), ("int8", -14)])
def test_bytes_are_quantised_as_the_model_says_when_mean_and_deviation_are_given(dtype: str, zero: int) -> None:
    frame = picture(4, 4)
    stored = TensorFacts(dtype, scale=0.02, zero_point=zero)
    io = ModelIO(mean=Channels((123.7, 116.3, 103.5)), std=Channels((58.4, 57.1, 57.4)))
    real = (frame[..., ::-1].astype(np.float64) - np.array(io.mean)) / np.array(io.std)
    limits = np.iinfo(dtype)
    expected = np.clip(np.rint(real / 0.02) + zero, limits.min, limits.max)
    assert np.array_equal(prepared(frame, "uint8", (1, 4, 4, 3), stored=stored, io=io)[0].view(dtype), expected)


def test_a_mean_for_bytes_without_a_scale_is_refused() -> None:
    with pytest.raises(EdgeProblem, match="nothing tells its scale"):
        Preprocessor(TensorSpec(b"input", "uint8", (1, 8, 8, 3)), None, ModelIO(mean=Channels((0, 0, 0))))
