"""Capture switched on in a workflow: tensors of the device's camera in the bucket, and out of it again by command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from conftest import ROOT
from e2e.test_up import GONE, exports, nothing_left, scratch, start_up, told
from emflow_emulator.camera import scenes
from support import LONG_START, PATIENCE, until

pytestmark = pytest.mark.e2e

__all__ = ["scratch"]  # a fixture


@pytest.fixture
def workflow(tmp_path: Path, scenes_model: Path) -> Path:
    """The demo, capturing every result."""
    shutil.copytree(scenes_model.parent, tmp_path / "models")
    text = (ROOT / "workflows" / "demo.yaml").read_text()
    text = text.replace("enabled: false\n    every: 10s ", "enabled: true\n    every: 0s ")
    text = text.replace("push_period: 4s", "push_period: 1s")
    assert text.count("every: 0s") == 1
    path = tmp_path / "capturing.yaml"
    path.write_text(text)
    return path


def emflow(aws: Mapping[str, str], *args: str) -> Any:
    """A command with --json against an embedded AWS; what it says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    command = [sys.executable, "-m", "emflow", "captures", *args, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**kept, **aws})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def predicted(model: Path, picture: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    answer: np.ndarray = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return answer


def test_the_bucket_has_what_the_camera_showed_and_what_the_model_said(
    scratch: Path,
    workflow: Path,
    scenes_model: Path,
    tmp_path: Path,
) -> None:
    up = start_up(scratch, str(workflow), "--json")
    assert up.stdout is not None
    aws = exports(scratch)
    first = up.stdout.readline()
    assert first, told(scratch)
    result = json.loads(first)
    until(lambda: len(emflow(aws, "list", str(workflow))) >= 4, LONG_START, "captures in the bucket")
    captures = emflow(aws, "list", str(workflow))
    files = [Path(name) for name in emflow(aws, "export", str(workflow), str(tmp_path / "out"))]
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=PATIENCE)
    until(lambda: nothing_left(scratch), what=GONE)
    assert {(one["device"], one["model"]) for one in captures} == {(result["thing"], result["model_name"])}
    right = 0
    for capture in captures:
        with np.load(next(file for file in files if file.name == f"{capture['id']}.npz")) as arrays:
            (picture,) = (arrays[name] for name in arrays.files if name.startswith("input"))
            (scores,) = (arrays[name] for name in arrays.files if name.startswith("output"))
        assert np.array_equal(predicted(scenes_model, picture), scores), "not the tensors of one inference"
        shown = scenes.shown_at(datetime.fromisoformat(capture["time"]).timestamp(), scenes.DWELL)
        right += scenes.SCENES[int(scores.argmax())] == shown
        image = cv2.imread(str(next(file for file in files if file.name == f"{capture['id']}.png")))
        assert image is not None
        assert np.array_equal(image[:, :, ::-1], picture[0])
    # A capture carries its frame's time; at a change of scenes the two may part.
    assert right >= 0.7 * len(captures)
