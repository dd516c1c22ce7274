"""Photographs through MobileNetV2 as TensorFlow Lite and as ONNX: both name what is in the picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from emflow_agent.models.loading import LoadedFiles

Open = Callable[..., LoadedFiles]

PHOTOGRAPHS = [("orange.png", 950), ("cat_720p.jpg", 285)]  # indices of ImageNet's 1000 classes

# Of ImageNet's pixels, RGB, 0 to 1: what the ONNX model zoo's networks were trained with.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixels(shared_data: Path, name: str) -> np.ndarray:
    picture = cv2.imread(str(shared_data / "images" / name))
    assert picture is not None
    return cv2.cvtColor(cv2.resize(picture, (224, 224)), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(("name", "index"), PHOTOGRAPHS)
@pytest.mark.parametrize("delegate", ["xnnpack", "none"])
def test_as_tensorflow_lite(opened: Open, shared_data: Path, name: str, index: int, delegate: str) -> None:
    model = opened(shared_data / "models", runtime="litert", delegate=delegate).model
    (scores,) = model.run([pixels(shared_data, name)[None]])
    assert int(scores.argmax()) == index + 1  # class 0 is the background


@pytest.mark.parametrize(("name", "index"), PHOTOGRAPHS)
def test_as_onnx(opened: Open, shared_data: Path, name: str, index: int) -> None:
    model = opened(shared_data / "models", runtime="onnx", threads=2).model
    assert model.inputs[0].shape == (1, 3, 224, 224)
    scaled = (pixels(shared_data, name) / 255 - MEAN) / DEVIATION
    (scores,) = model.run([np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)])
    assert int(scores.argmax()) == index


def test_a_folder_with_both_is_litert_unless_the_settings_say_otherwise(opened: Open, shared_data: Path) -> None:
    assert opened(shared_data / "models").placement.runtime.startswith("LiteRT")
    assert opened(shared_data / "models", runtime="onnx").placement.runtime.startswith("ONNX Runtime")
