"""What a device says beside its results is what its schemas say."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

import emflow_schema
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.observability.exposition import MetricsExporter
from emflow_edge.observability.status import Status
from emflow_edge.results.sinks import offline_messages
from emflow_schema.edge_config import Publish


def valid(name: str, message: Any) -> None:
    schema = emflow_schema.load(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(message)


@pytest.mark.parametrize("name", ["device-status", "device-metrics"])
def test_the_examples_of_a_schema_are_right(name: str) -> None:
    for example in emflow_schema.load(name)["examples"]:
        valid(name, example)


def statuses() -> list[Status]:
    """A run in every way that it can be."""
    made = []
    for camera in ("starting", "present", "absent", "frozen", "black"):
        for ready in (True, False):
            for sends in (True, False):
                status = Status()
                status.set_streams(("front", "side"))
                status.set_camera("front", camera, "a reason" if camera == "absent" else "")
                status.set_agent(ready, "" if ready else "it has gone")
                status.set_publisher(sends, "" if sends else "broker away")
                status.set_configuration_refused("" if sends else "streams: there is none")
                status.result("front")
                made.append(status)
    return made


def test_a_status_in_every_way_that_a_run_can_be() -> None:
    words = set()
    for status in statuses():
        told = {"thing": "board", "version": "1.0.0", **status.snapshot()}
        valid("device-status", told)
        words |= {told["status"], *(one["status"] for one in told["streams"].values())}
    assert {"starting", "running", "degraded", "absent", "frozen", "black", "no agent", "unpublished"} <= words


def test_last_words() -> None:
    assert offline_messages(Publish(), "board", "1.0.0") is None
    words = offline_messages(Publish(status_topic="em/status", qos=0), "board", "1.0.0")
    assert words
    for message in (words.will, words.on_end()):
        assert (message.topic, message.qos, message.retain) == ("em/status", 0, True)
        valid("device-status", json.loads(message.payload))


def test_an_offline_without_a_reason_and_a_running_without_a_time_are_wrong() -> None:
    for wrong in ({"status": "offline"}, {"status": "running"}):
        with pytest.raises(jsonschema.ValidationError):
            valid("device-status", {"thing": "board", "version": "1.0.0", "streams": {}, **wrong})


def test_metrics_before_and_after_something_was_measured() -> None:
    for status in statuses():
        counters, timings = Counters(), StageLatencies()
        metrics = MetricsExporter("board", "1.0.0", counters, timings, status)
        valid("device-metrics", json.loads(metrics.message()))
        counters.for_stream("front").add("captured")
        timings.age.add(12.5)
        valid("device-metrics", json.loads(metrics.message()))
