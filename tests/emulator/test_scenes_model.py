"""The model that ships with the demo: what it is, and that it knows the scenes in pictures it never saw."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.interpreter import Interpreter
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from emflow_emulator.camera.scenes import SCENES, draw, moving, shown_at

Picture = npt.NDArray[np.uint8]

MODELS = Path(__file__).parents[2] / "workflows" / "models"
MODEL = MODELS / "scenes.tflite"
WIDTH, HEIGHT = 640, 480
NEEDED = 0.97
# The training script begins its seeds with 1 and 2.
UNSEEN = 3
NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


class Classifier:
    def __init__(self) -> None:
        self._interpreter = Interpreter(model_path=str(MODEL), num_threads=1)
        # Before the runtime prepares them for itself: what the file says.
        self.tensors = self._interpreter.get_tensor_details()
        self._interpreter.allocate_tensors()
        (self.source,) = self._interpreter.get_input_details()
        (self.sink,) = self._interpreter.get_output_details()

    def scores(self, picture: Picture) -> npt.NDArray[np.float64]:
        """Probabilities of the scenes in a picture of any size, stretched as the edge component does it."""
        stretched = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_LINEAR)
        self._interpreter.set_tensor(self.source["index"], stretched[None])
        self._interpreter.invoke()
        scale, zero = self.sink["quantization"]
        raw: Picture = self._interpreter.get_tensor(self.sink["index"])[0]
        scores: npt.NDArray[np.float64] = (raw.astype(np.float64) - zero) * scale
        return scores

    def accuracy(self, shown: Iterable[tuple[str, Picture]]) -> float:
        hits = [SCENES[self.scores(picture).argmax()] == scene for scene, picture in shown]
        return sum(hits) / len(hits)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def test_it_is_small_enough_for_a_repository() -> None:
    assert MODEL.stat().st_size <= 1_000_000


def test_it_takes_a_picture_of_bytes_in_which_255_is_one(classifier: Classifier) -> None:
    source = classifier.source

    assert source["name"] == "input"
    assert source["shape"].tolist() == [1, 224, 224, 3]
    assert source["shape_signature"].tolist() == [1, 224, 224, 3]
    assert source["dtype"] is np.uint8
    assert source["quantization"] == (pytest.approx(1 / 255, rel=1e-4), 0)


def test_it_answers_one_probability_a_scene_as_bytes(classifier: Classifier) -> None:
    sink = classifier.sink

    assert sink["name"] == "scores"
    assert sink["shape"].tolist() == [1, len(SCENES)]
    assert sink["dtype"] is np.uint8
    assert sink["quantization"] == (1 / 256, 0)
    scores = classifier.scores(draw("sunset", WIDTH, HEIGHT, np.random.default_rng([UNSEEN, 0])))
    assert scores.sum() == pytest.approx(1.0, abs=len(SCENES) / 256)


def test_everything_in_it_is_quantised_with_one_scale_a_tensor(classifier: Classifier) -> None:
    details = classifier.tensors

    floats = [each["name"] for each in details if np.issubdtype(each["dtype"], np.floating)]
    many_scales = [each["name"] for each in details if each["quantization_parameters"]["scales"].size > 1]
    assert (floats, many_scales) == ([], [])


def test_the_labels_are_the_scenes_in_their_order() -> None:
    assert (MODELS / "scenes_labels.txt").read_text().splitlines() == list(SCENES)


def test_the_model_card_is_about_this_file() -> None:
    card = (MODELS / "scenes_model_card.md").read_text()

    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() in card
    assert re.search(rf"\b{MODEL.stat().st_size:,} bytes\b", card)


def test_it_knows_the_scenes_in_drawings_it_never_saw(classifier: Classifier) -> None:
    rng = np.random.default_rng([UNSEEN, 1])
    shown = ((scene, draw(scene, WIDTH, HEIGHT, rng)) for _ in range(40) for scene in SCENES)

    assert classifier.accuracy(shown) >= NEEDED


@pytest.mark.parametrize("scene", SCENES)
def test_no_scene_is_much_harder_than_the_others(classifier: Classifier, scene: str) -> None:
    rng = np.random.default_rng([UNSEEN, 2])

    assert classifier.accuracy((scene, draw(scene, WIDTH, HEIGHT, rng)) for _ in range(20)) >= 0.9


def test_it_knows_the_scenes_of_a_live_camera_after_h264(classifier: Classifier) -> None:
    """Six rounds of the camera's schedule; of every scene its first frames, where the encoder has least to go by."""
    dwell, rate = 2.0, 25
    moments = [NOON + slot * dwell + tick / rate for slot in range(6 * len(SCENES)) for tick in range(5)]
    shown = [shown_at(moment, dwell) for moment in moments]
    frames = (moving(scene, moment, WIDTH, HEIGHT, dwell) for scene, moment in zip(shown, moments, strict=True))
    received = _through_h264(frames, rate)

    assert len(received) == len(moments) >= 300
    assert classifier.accuracy(zip(shown, received, strict=True)) >= NEEDED


def test_it_is_not_sure_of_a_shape_in_another_colour(classifier: Classifier) -> None:
    """It looks at shape and colour both; and red in the place of blue, the classic mistake, cannot go unseen."""
    rng = np.random.default_rng([UNSEEN, 3])
    for scene in ("red circle", "blue square"):
        pictures = [draw(scene, WIDTH, HEIGHT, rng) for _ in range(20)]
        as_drawn = [classifier.scores(picture).max() for picture in pictures]
        swapped = [classifier.scores(np.ascontiguousarray(picture[..., ::-1])).max() for picture in pictures]
        assert np.median(as_drawn) > 0.9
        assert np.median(swapped) < 0.5


def _through_h264(frames: Iterable[Picture], rate: int) -> list[Picture]:
    """What a client sees of frames that a camera encoded for 1 Mbit/s, without holding any back."""
    encoder = av.CodecContext.create("libx264", "w")
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(encoder, VideoCodecContext)
    assert isinstance(decoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.bit_rate = Fraction(1, rate), 1_000_000
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(rate)}
    received: list[Picture] = []

    def receive(packets: Iterable[av.Packet[Any] | None]) -> None:
        for packet in packets:
            received.extend(frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in decoder.decode(packet))

    for frame in frames:
        receive(encoder.encode(VideoFrame.from_ndarray(frame, format="rgb24")))
    receive([*encoder.encode(None), None])
    return received
