"""Streams: what the workflow lets through, the component takes; what it refuses is told at its place."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from emflow.workflow import Workflow, load
from emflow.workflow.model import Secret, Stream
from emflow.workflow.rules.streams import PRESETS, SCHEMES, streams
from emflow_schema import edge_config as of_component
from emflow_schema.errors import ConfigProblem

SMALL = "rtsp://camera/stream"
ADDRESSES = (
    "rtsp://camera/1",
    "RTSP://camera/1",
    "rtspt://camera:8554/1",
    "rtsps://[::1]:322/1",
    "http://camera/mjpeg?user=a",
    "https://camera/mjpeg",
    "v4l2:///dev/video0",
    "file:///var/lib/video%201.mp4",
    "gstreamer:",
)
WRONG = (
    "front",
    "ftp://camera/x",
    "rtsp:///x",
    "rtsp:camera",
    "rtsp://camera:0/x",
    "rtsp://camera:99999/x",
    "rtsp://camera..x/1",
    f"rtsp://{'a' * 64}/1",
    "v4l2://dev/video0",
    "v4l2:/dev/video0",
    "file://video.mp4",
    "gstreamer:x",
)


@pytest.fixture
def workflow(small: Path) -> Workflow:
    return load(small)


def refused(workflow: Workflow, stream: Stream) -> list[str]:
    edge = dataclasses.replace(workflow.edge, streams=(stream,))
    return [offence.message for offence in streams(dataclasses.replace(workflow, edge=edge))]


def component_refuses(stream: Stream) -> bool:
    values = {key: getattr(stream, key) for key in ("name", "url", "transport", "backend", "pipeline")}
    try:
        of_component.read_streams({"streams": [values]})
    except ConfigProblem:
        return True
    return False


def test_the_workflow_knows_the_components_addresses_and_presets() -> None:
    assert (SCHEMES, PRESETS) == (of_component.SCHEMES, of_component.PRESETS)


@pytest.mark.parametrize("url", ADDRESSES)
def test_what_the_workflow_lets_through_the_component_takes(workflow: Workflow, url: str) -> None:
    pipelines = (None, "imx8mp", "decodebin", "nonsense", "videotestsrc ! appsink")
    let_through = 0
    ways: Any = itertools.product(of_component.TRANSPORTS, of_component.BACKENDS, pipelines)
    for transport, backend, pipeline in ways:
        stream = Stream(name="a", url=url, transport=transport, backend=backend, pipeline=pipeline)
        if not refused(workflow, stream):
            assert not component_refuses(stream), stream
            let_through += 1
        elif transport == "tcp":  # the component passes over a transport that nothing is carried by
            assert component_refuses(stream), stream
    assert let_through


@pytest.mark.parametrize("url", WRONG)
def test_an_address_that_the_component_cannot_read_is_refused(workflow: Workflow, url: str) -> None:
    stream = Stream(name="a", url=url)
    assert len(refused(workflow, stream)) == 1
    assert component_refuses(stream)


def test_credentials_are_for_what_asks_for_them(workflow: Workflow) -> None:
    secret = Secret(secret="arn:aws:secretsmanager:us-east-1:123456789012:secret:c-AbCdEf")
    for url in ("rtsp://camera/1", "rtsps://camera/1", "http://camera/1"):
        assert refused(workflow, Stream(name="a", url=url, credentials=secret)) == []
    for url in ("v4l2:///dev/video0", "file:///x"):
        (message,) = refused(workflow, Stream(name="a", url=url, credentials=secret))
        assert "asks for no credentials" in message


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ("url: §ftp://camera/x", "is an address with ftp:"),
        ("url: §rtps://camera/x", "is an address with rtps:"),
        ("url: rtspt://camera/x, transport: §udp", "rtspt:// is always over TCP"),
        ("url: v4l2:///dev/video0, transport: §udp", "the transport is for rtsp://"),
        ("url: http://camera/x, ca: §/etc/x.pem", "has no certificates"),
        ("url: rtsp://camera/x, pipeline: §decodbin", "neither a preset nor a pipeline"),
        ("url: rtsp://camera/x, pipeline: imx8mp, backend: §opencv", "opencv runs no pipeline"),
        ("url: v4l2:///dev/video0, backend: §gstreamer", "gstreamer needs a pipeline for v4l2:"),
    ],
)
def test_a_stream_that_cannot_be_is_told_at_its_place(broken, settings: str, where: str) -> None:
    wrong = broken("{name: front, url: rtsp://camera/stream}", f"{{name: front, {settings}}}")
    assert (wrong.finding.code, wrong.place) == ("EM061", wrong.marked)
    assert where in wrong.finding.message


def test_a_word_that_is_nearly_one_gets_the_one_that_is_meant(broken) -> None:
    assert "rtsp" in broken(SMALL, "rtps://camera/x").finding.mend
    wrong = broken(SMALL, "rtsp://camera/x, pipeline: imx8m")
    assert "`imx8mp`" in wrong.finding.mend


def test_a_number_of_frames_is_a_pace(small: Path) -> None:
    small.write_text(small.read_text().replace(f"{SMALL}}}", f"{SMALL}, every: 5 frames}}"))
    assert load(small).edge.streams[0].every == "5 frames"


@pytest.mark.parametrize("every", ["0 frames", "-5 frames", "5frames", "1d"])
def test_what_the_component_takes_for_no_pace_is_none(broken, every: str) -> None:
    assert broken(SMALL, f"{SMALL}, every: {every}").finding.code in ("EM024", "EM050")
