"""A video file, a device and a pipeline in a camera's place."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from emflow_edge.camera import gstreamer, registry
from emflow_edge.rtsp.errors import CameraLost, CameraRefused
from emflow_schema.edge_config import Stream
from emflow_schema.units import DeviceDuration

NOBODY = ("", "")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames, twenty a second, each a little lighter."""
    path = tmp_path_factory.mktemp("video") / "a film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for number in range(10):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


def test_a_file_plays_at_its_own_rate_and_begins_again(video: Path) -> None:
    stream = Stream("film", f"file://{video}".replace(" ", "%20"))
    capture = registry.open_camera(stream, NOBODY, threading.Event())
    assert capture.fps == 20
    began, shown = time.monotonic(), []
    for number in range(25):
        arrival = capture.grab()
        if number >= 20:
            shown += [round(float(picture.image().mean()) / 20) for _, picture in capture.decode(alone=True)]
    assert arrival.arrived_at - began >= 24 / 20
    capture.close()
    assert shown == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///no/film.mp4", "\\(/no/film.mp4"),
        ("v4l2:///dev/video987", "no device /dev/video987"),
        ("v4l2:///etc/hostname", "no device /etc/hostname"),
    ],
)
def test_what_is_not_there_is_reported(url: str, reason: str) -> None:
    with pytest.raises(CameraLost, match=reason):
        registry.open_camera(Stream("x", url), NOBODY, threading.Event())


def test_what_is_no_video_and_no_camera_is_reported(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(CameraLost, match="is not a video that can be decoded"):
        registry.open_camera(Stream("x", f"file://{text}"), NOBODY, threading.Event())
    with pytest.raises(CameraLost, match="does not deliver pictures"):
        registry.open_camera(Stream("x", "v4l2:///dev/null"), NOBODY, threading.Event())


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (Stream("x", "rtsp://camera/1"), "rtsp-pyav"),
        (Stream("x", "rtspt://camera/1", backend="ffmpeg"), "rtsp-pyav"),
        (Stream("x", "rtsps://camera/1", backend="opencv"), "rtsp-opencv"),
        (Stream("x", "rtsp://camera/1", backend="gstreamer"), "gstreamer"),
        (Stream("x", "rtsp://camera/1", pipeline="imx8mp"), "gstreamer"),
        (Stream("x", "gstreamer:", pipeline="videotestsrc ! appsink"), "gstreamer"),
        (Stream("x", "v4l2:///dev/video0"), "v4l2"),
        (Stream("x", "https://camera/mjpeg"), "mjpeg"),
    ],
)
def test_a_stream_is_read_by_the_kind_that_it_names(stream: Stream, kind: str) -> None:
    assert registry.kind(stream) == kind


def test_without_pyav_rtsp_goes_through_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emflow_edge.camera.pyav_decoder.AVAILABLE", False)
    assert registry.kind(Stream("x", "rtsp://camera/1")) == "rtsp-opencv"
    assert registry.kind(Stream("x", "rtsp://camera/1"), plain=True) == "rtsp-opencv"
    with pytest.raises(CameraRefused, match="PyAV is not installed"):
        registry.open_camera(Stream("x", "rtsp://camera/1", backend="ffmpeg"), NOBODY, threading.Event())


def test_the_boards_pipeline_is_as_its_makers_have_it() -> None:
    stream = Stream("x", "rtspt://camera:8554/live", pipeline="imx8mp", read_timeout=DeviceDuration("2s"))
    assert gstreamer.text(stream) == (
        "rtspsrc location=rtsp://camera:8554/live protocols=tcp latency=0 drop-on-latency=true"
        " timeout=2000000 tcp-timeout=2000000 ! rtph264depay ! h264parse ! v4l2h264dec"
        " ! imxvideoconvert_g2d ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR"
        " ! appsink max-buffers=1 drop=true sync=false"
    )


def test_an_address_cannot_break_out_of_a_pipeline() -> None:
    url = 'rtsp://me:a" ! filesink location=x ! "@camera/a b!c" ! filesink location=x'
    stream = Stream("x", url, pipeline="rtspsrc location={url} ! fakesink")
    assert gstreamer.text(stream).startswith(
        "rtspsrc location=rtsp://camera/a%20b%21c%22%20%21%20filesink%20location=x ! fakesink"
    )


@pytest.mark.skipif(gstreamer.available(), reason="this OpenCV has GStreamer")
def test_an_opencv_without_gstreamer_says_so() -> None:
    with pytest.raises(CameraRefused, match="built without GStreamer"):
        registry.open_camera(Stream("x", "gstreamer:", pipeline="videotestsrc ! appsink"), NOBODY, threading.Event())
