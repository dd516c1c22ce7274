"""The test camera with a password, read by OpenCV: through the relay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge.camera.recorded_health import RunningCamera
from emflow_edge.camera.rtsp_relay import RtspRelay

if TYPE_CHECKING:
    from edge.conftest import Edge


@pytest.mark.e2e
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_ten_frames_of_a_camera_that_wants_a_digest_come_through_opencv(
    edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: Any
) -> None:
    login = tmp_path / "login.json"
    login.write_text(json.dumps({"username": "viewer", "password": "s3cret/@:"}))
    _, url = edge.camera("--size", "320x240", "--login", str(login))
    relays: list[str] = []
    opened = RtspRelay.__init__

    def count(self: RtspRelay, *args: Any) -> None:
        opened(self, *args)
        relays.append(self.url)

    monkeypatch.setattr(RtspRelay, "__init__", count)
    url = url.replace("rtspt://", "rtsp://").replace("//", "//viewer:s3cret%2F%40%3A@")
    with RunningCamera(url, backend="opencv", transport=transport) as camera:
        for _ in range(10):
            assert camera.next().image.shape == (240, 320, 3)
    assert len(relays) == 1
