"""The topics that a workflow's application publishes to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from emflow.workflow import Workflow, load
from emflow.workflow.model import Publish, Stream
from emflow.workflow.topic_grants import granted, results

DEMO = Path(__file__).parents[2] / "workflows" / "demo.yaml"


@pytest.fixture
def demo() -> Workflow:
    return load(DEMO)


def publishing(workflow: Workflow, publish: Publish, *streams: str) -> Workflow:
    cameras = tuple(Stream(name=name, url="rtsp://10.0.0.7/a") for name in streams)
    return dataclasses.replace(workflow, edge=dataclasses.replace(workflow.edge, publish=publish, streams=cameras))


def test_a_topic_without_places_is_one(demo: Workflow) -> None:
    assert granted(demo) == results(demo, "board") == (demo.edge.publish.topic,)


def test_a_topic_for_each_stream(demo: Workflow) -> None:
    workflow = publishing(demo, Publish(topic="em/{thing}/{stream}/{model}"), "front", "side")
    model = demo.cloud.model.name
    assert results(workflow, "board") == (f"em/board/front/{model}", f"em/board/side/{model}")


def test_status_and_metrics_are_granted_too_and_what_is_the_same_once(demo: Workflow) -> None:
    publish = Publish(topic="em/{thing}", status_topic="em/{thing}/status", metrics_topic="em/{thing}")
    workflow = publishing(demo, publish, "front", "side")
    thing = demo.cloud.deployment.target.thing
    assert granted(workflow) == (f"em/{thing}", f"em/{thing}/status")
    assert results(workflow, "board") == ("em/board",)
