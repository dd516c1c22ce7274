"""Photographs through the whole of it, with LiteRT in the agent's place: what comes out is what is in the picture."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from emflow_edge.model_adapter import adapt_model
from emflow_edge.model_spec import ModelSpec, TensorSpec
from emflow_edge.outcome import ClassScore
from emflow_edge.settings.config import Settings
from emflow_schema.edge_config import ModelIO


def seen(file: Path, image: np.ndarray, model_io: ModelIO) -> tuple[ClassScore, ...]:
    interpreter = Interpreter(model_path=str(file))
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    specs = [TensorSpec(b"", np.dtype(one["dtype"]).name, tuple(map(int, one["shape"]))) for one in (given, made)]
    fitting = adapt_model(ModelSpec("net", specs[0], (specs[1],)), Settings("net", file.parent, (), model_io))
    data = np.frombuffer(fitting.preprocess(image), given["dtype"]).reshape(given["shape"])
    interpreter.set_tensor(given["index"], data)
    interpreter.invoke()
    return fitting.outcome([interpreter.get_tensor(made["index"]).tobytes()], image).top


def mobilenet(shared_data: Path, image: str, **io: Any) -> tuple[ClassScore, ...]:
    labels = shared_data / "models" / "imagenet_labels_1001.txt"
    frame = cv2.imread(str(shared_data / "images" / image))
    assert frame is not None
    file = shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite"
    return seen(file, frame, ModelIO(labels=str(labels), class_offset=1, **io))


@pytest.mark.parametrize(
    ("image", "index", "label"), [("orange.png", 950, "orange"), ("cat_720p.jpg", 285, "Egyptian cat")]
)
def test_a_photograph_is_named(shared_data: Path, image: str, index: int, label: str) -> None:
    best = mobilenet(shared_data, image)[0]
    assert (best.index, best.label) == (index, label)


def test_the_confidence_is_a_probability_not_a_byte(shared_data: Path) -> None:
    choices = mobilenet(shared_data, "orange.png", top_k=1000)
    assert choices[0].confidence > 0.9
    assert 0.99 < sum(choice.confidence for choice in choices) <= 1.0001


@pytest.mark.parametrize(("image", "confidence"), [("orange.png", 0.816), ("cat_720p.jpg", 0.729)])
def test_the_workshops_confidence_can_be_had(shared_data: Path, image: str, confidence: float) -> None:
    best = mobilenet(shared_data, image, confidence="workshop")[0]
    assert best.confidence == pytest.approx(confidence, abs=0.0005)


def test_in_the_wrong_colour_order_an_orange_is_a_croquet_ball(shared_data: Path) -> None:
    assert mobilenet(shared_data, "orange.png", color="bgr")[0].label == "croquet ball"


def test_our_own_model_names_every_scene_that_the_camera_draws(scenes_model: Path) -> None:
    from emflow_emulator.camera import scenes

    labels = ModelIO(labels=str(scenes_model.with_name("scenes_labels.txt")))
    named = {
        scene: seen(scenes_model, scenes.moving(scene, 1.0, 640, 480, 2.0)[..., ::-1].copy(), labels)[0].label
        for scene in scenes.SCENES
    }
    assert named == {scene: scene for scene in scenes.SCENES}
