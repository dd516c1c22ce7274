"""Streams that the device cannot read, or whose settings mean nothing for it, are told at their places.

That host and device say the same of them is tests/schema/test_stream_verdicts.py.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from emflow.workflow import Workflow, load
from emflow.workflow.model import Secret, Stream
from emflow.workflow.rules.streams import streams

SMALL = "rtsp://camera/stream"


@pytest.fixture
def workflow(small: Path) -> Workflow:
    return load(small)


def refused(workflow: Workflow, stream: Stream) -> list[str]:
    edge = dataclasses.replace(workflow.edge, streams=(stream,))
    return [violation.message for violation in streams(dataclasses.replace(workflow, edge=edge))]


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
def test_a_stream_that_cannot_be_is_reported_at_its_place(broken, settings: str, where: str) -> None:
    wrong = broken("{name: front, url: rtsp://camera/stream}", f"{{name: front, {settings}}}")
    assert (wrong.finding.code, wrong.place) == ("EM061", wrong.marked)
    assert where in wrong.finding.message


def test_a_word_that_is_nearly_one_gets_the_one_that_is_meant(broken) -> None:
    assert "rtsp" in broken(SMALL, "rtps://camera/x").finding.mend
    wrong = broken(SMALL, "rtsp://camera/x, pipeline: imx8m")
    assert "`imx8mp`" in wrong.finding.mend


@pytest.mark.parametrize(("every", "frames", "seconds"), [("5 frames", 5, 0), ("5frames", 5, 0), ("1.5 h", 0, 5400)])
def test_a_pace_is_a_number_of_frames_or_a_duration(small: Path, every: str, frames: int, seconds: float) -> None:
    small.write_text(small.read_text().replace(f"{SMALL}}}", f"{SMALL}, every: {every}}}"))
    found = load(small).edge.streams[0].every
    assert (found, found.frames, found.seconds) == (every, frames, seconds)


@pytest.mark.parametrize("every", ["0 frames", "-5 frames", "frames", "1d"])
def test_what_the_component_takes_for_no_pace_is_none(broken, every: str) -> None:
    assert broken(SMALL, f"{SMALL}, every: {every}").finding.code in ("EM024", "EM050")
