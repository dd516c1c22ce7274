"""The edge component between programs that are not ours: GStreamer's RTSP server before it, Mosquitto behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from emflow.results.message import Result
from emflow.results.subscriber import ResultSubscriber
from emflow_emulator.camera import scenes
from support import PATIENCE, Process

pytestmark = pytest.mark.peer


@pytest.fixture
def agent(python: Callable[..., Process], tmp_path: Path) -> Path:
    socket = tmp_path / "a.sock"
    python("emflow_agent", "--socket", str(socket)).says("Server listening on")
    return socket


@pytest.mark.parametrize("transport", ["rtsp", "rtspt"])
def test_a_gstreamer_camera_is_seen_and_the_result_reaches_mosquitto(
    gstreamer_rtsp: Callable[[Path], str],
    mosquitto: int,
    agent: Path,
    scenes_model: Path,
    start: Callable[..., Process],
    tmp_path: Path,
    transport: str,
) -> None:
    picture = tmp_path / "scene.png"
    cv2.imwrite(str(picture), cv2.cvtColor(scenes.moving("yellow star", 100.0, 640, 480), cv2.COLOR_RGB2BGR))
    url = gstreamer_rtsp(picture).replace("rtsp://", f"{transport}://")
    topic = "em/inference"
    with ResultSubscriber("127.0.0.1", mosquitto, topic) as watcher:
        start(
            *(sys.executable, "-m", "emflow_edge", "-s", url, "-c", f"{scenes_model.parent}/", "-m", "scenes"),
            *("--agent-socket", str(agent), "--publish", f"mqtt://127.0.0.1:{mosquitto}", "--topic", topic),
            *("--labels", str(scenes_model.with_name("scenes_labels.txt")), "--thing", "a-thing"),
        )
        for sequence in range(2):
            result = watcher.next(PATIENCE)
            assert isinstance(result, Result)
            assert (result.label, result.sequence, result.thing) == ("yellow star", sequence, "a-thing")
