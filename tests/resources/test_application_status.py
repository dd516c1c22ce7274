"""What the cameras see: the application's retained status, from the broker to `read_status`, and what is made of it."""

from __future__ import annotations

import dataclasses
import json
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from emflow.cli.status import _without_progress, as_data
from emflow.engine.clients import Clients
from emflow.resources.application_status import MOST_STREAMS, ApplicationStatus, interval, parse
from emflow.resources.status import Status, read_status
from emflow.resources.status_queries import DeviceStatus, LastResults
from emflow.workflow.model import Stream, Workflow
from emflow_emulator.aws import EmbeddedAws
from emflow_emulator.broker import Broker
from emflow_emulator.mqtt.packets import Message
from emflow_schema.units import Interval
from emulator.aws.pieces import signed
from resources.conftest import within
from support import until

NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
TOPIC = "em/status/core"


def message(thing: str, age: float = 0.0, ahead: float = 0.0, **streams: Any) -> dict[str, Any]:
    """A status written `age` seconds ago by a device whose clock is so many seconds ahead."""
    written = NOW + timedelta(seconds=ahead - age)

    def at(ago: float) -> str:
        return (written - timedelta(seconds=ago)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    shown = {
        name: {"status": one[0], "since": at(60), "last_result": at(one[1]), "seconds_without_result": one[1]}
        for name, one in streams.items()
    }
    agent = {"status": "running", "since": at(60)}
    head = {"thing": thing, "version": "1.0.0", "time": at(0), "status": "running", "since": at(60)}
    return {**head, "streams": shown, "agent": agent}


@pytest.fixture
def judge(workflow):
    """Parse a message that AWS got `age` seconds ago."""
    streams = (
        Stream(name="front", url="rtsp://10.0.0.1/1", every=Interval("1s")),
        Stream(name="slow", url="rtsp://10.0.0.2/1", every=Interval("1m")),
    )
    workflow = within(workflow, "edge", streams=streams)
    thing = workflow.cloud.deployment.target.thing

    def parsed(status_message: Any, age: float = 0.0, thing: str = thing) -> Any:
        payload = status_message if isinstance(status_message, bytes) else json.dumps(status_message).encode()
        return parse(payload, NOW - timedelta(seconds=age), NOW, TOPIC, thing, workflow)

    parsed.thing = thing  # type: ignore[attr-defined]
    return parsed


def test_streams_with_results_as_often_as_they_should_are_no_warning(judge):
    found = judge(message(judge.thing, front=("running", 4.9), slow=("running", 299)))
    assert (found.status, found.warnings) == ("running", ())
    assert found.last_result == NOW - timedelta(seconds=4.9)


def test_over_five_intervals_without_a_result_are_a_warning_with_the_stream(judge):
    found = judge(message(judge.thing, front=("running", 5.2), slow=("running", 301)))
    assert found.warnings == (
        "front has had no result for 5 s: over 5 intervals (1s)",
        "slow has had no result for 5 min: over 5 intervals (1m)",
    )


def test_a_stream_that_does_not_run_has_no_results_since_the_message_either(judge):
    status_message = message(judge.thing, age=10, front=("absent", 1), slow=("running", 1))
    assert judge(status_message, age=10).warnings == ("front has had no result for 11 s: over 5 intervals (1s)",)
    status_message = message(judge.thing, age=10, front=("running", 1), slow=("running", 1))
    assert judge(status_message, age=10).warnings == ()


def test_a_wrong_clock_of_a_device_moves_its_times_and_changes_no_verdict(judge):
    right = judge(message(judge.thing, age=3, front=("absent", 1)), age=3)
    wrong = judge(message(judge.thing, age=3, ahead=172_800, front=("absent", 1)), age=3)
    assert wrong == right
    assert wrong.streams[0].since == NOW - timedelta(seconds=63)


def test_an_application_that_no_longer_reports_is_a_warning(judge):
    status_message = message(judge.thing, age=301, front=("running", 0))
    assert judge(status_message, age=299).warnings == ()
    assert judge(status_message, age=301).warnings == (
        "the application has not reported for 5 min; it reports every 1m",
    )


def test_a_configuration_that_the_device_refused_is_a_warning(judge):
    status_message = message(judge.thing, front=("running", 0), slow=("running", 0))
    status_message["configuration_refused"] = "agent at a.sock has no memory for model net\x1b[31m"
    (warning,) = judge(status_message).warnings
    assert warning.startswith("a newer configuration is refused, the one before runs: agent at a.sock has no memory")
    assert "\x1b" not in warning


def test_an_application_that_is_offline_gives_no_results(judge):
    status_message = {
        "thing": judge.thing,
        "version": "1",
        "status": "offline",
        "streams": {},
        "reason": "the connection was lost",
    }
    assert judge(status_message, age=2).warnings == ()
    found = judge(status_message, age=6)
    assert (found.status, found.reason) == ("offline", "the connection was lost")
    assert found.warnings == ("the application is offline, so no results come: the connection was lost",)


def test_a_status_of_an_older_component_without_times_is_read_too(judge):
    status_message = {"thing": judge.thing, "version": "1", "status": "degraded", "since": "2026-11-30T11:00:00.000Z",
            "streams": {"front": {"status": "absent", "reason": "no route"}}}  # fmt: skip
    assert judge(status_message).warnings == ()
    found = judge(status_message, age=7)
    assert found.warnings == ("front has had no result for 7 s: over 5 intervals (1s)",)
    assert (found.agent, found.streams[0].since) == (None, None)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"{", b"null", b"[]", b'"running"', b"{}", b"[" * 100_000, b'{"status": "fine", "streams": {}}',
     b'{"status": "running", "streams": []}', b'{"status": {}, "streams": {}}'],
    ids=lambda payload: repr(payload[:20]),
)  # fmt: skip
def test_what_is_no_status_is_not_known(judge, payload):
    found = judge(payload)
    assert (found.status, found.warnings) == ("unknown", ())
    assert found.reason == f"the message retained on {TOPIC} is not a status of the component"


def test_a_status_message_cannot_write_control_characters_to_a_terminal(judge):
    status_message = message("core", front=("running", 0))
    status_message["thing"] = judge.thing
    status_message["reason"] = "\x1b[2J" + "x" * 10_000
    status_message["streams"] = {
        f"\x1b]0;{number}\x07": {"status": "\n::error::", "reason": 7} for number in range(1000)
    }
    status_message["streams"]["odd"] = "text"
    status_message["agent"] = {"status": "\x1b", "since": "yesterday"}
    status_message["since"] = "9999-12-31T23:59:59.999Z"
    found = judge(status_message)
    shown = repr([dataclasses.astuple(found)])
    assert "\\x1b[" not in shown.replace("\\\\x1b", "")
    assert len(found.streams) == MOST_STREAMS
    assert len(found.reason) < 400
    for number in (float("nan"), float("inf"), -1, 1e300, "5", None, True, [1]):
        odd = message(judge.thing, front=("running", 0))
        odd["streams"]["front"]["seconds_without_result"] = number
        assert judge(odd).warnings == ()


def test_a_topic_that_devices_share_is_not_taken_for_this_devices(judge):
    found = judge(message("another", front=("running", 0)))
    assert found.status == "unknown"
    assert "is of another; with {thing} in it each device has its own" in found.reason


@pytest.mark.parametrize(("every", "seconds"), [("250ms", 0.25), ("1m", 60), ("5 frames", 5), ("0s", 1)])
def test_the_interval_of_a_stream_is_what_is_expected_of_it(every, seconds):
    assert interval(Stream(name="front", url="rtsp://h/1", every=Interval(every))) == seconds


def test_a_status_that_only_got_older_is_no_change_for_watch(judge):
    def data(age: float, front: str = "absent", last: float = 30) -> dict[str, Any]:
        status_message = message(judge.thing, age=age, front=(front, last))
        for part in (status_message, status_message["agent"], status_message["streams"]["front"]):
            part["since"] = "2026-11-30T11:00:00.000Z"
        application = judge(status_message, age=age - 0.3)  # on its way for so long
        assert application.warnings
        device = DeviceStatus(judge.thing, "HEALTHY", application=application)
        results = LastResults(application.last_result, "status of the application")
        return as_data(Status("w", "thing/t", NOW + timedelta(seconds=age), devices=(device,), last_results=results))

    one, other = data(1, last=31), data(7, last=30)
    assert one != other
    assert _without_progress(one) == _without_progress(other)
    assert _without_progress(one) != _without_progress(data(1, "frozen", last=31))


@pytest.fixture
def cloud(monkeypatch, endpoint, file):
    """A broker, an embedded AWS that has it and knows the workflow's core device, and reports of that."""
    with Broker() as broker, EmbeddedAws(port=0, job_seconds=0.1, broker=broker) as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws.credentials.id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws.credentials.secret)

        def report(thing: str, **more: Any) -> None:
            body = {"coreVersion": "2", "platform": "linux", "architecture": "aarch64", "status": "HEALTHY", **more}
            request = signed(f"{aws.endpoint_url}/_emflow/cores/{thing}", body, aws.credentials)
            urllib.request.urlopen(request, timeout=5).close()

        broker.report = report  # type: ignore[attr-defined]
        yield broker


def retained(broker: Broker, topic: str, status_message: dict[str, Any]) -> None:
    broker.publish(Message(topic, json.dumps(status_message).encode(), 1, retain=True))
    until(lambda: broker.retained.get(topic))


def seen(workflow: Workflow, session: boto3.Session | None = None) -> tuple[Status, DeviceStatus, ApplicationStatus]:
    """The status, its only device, and the application on that."""
    status = read_status(workflow, Clients(workflow.aws, session))
    (device,) = status.devices
    assert device.application
    return status, device, device.application


def test_status_reads_what_a_device_has_retained(workflow, cloud):
    thing = workflow.cloud.deployment.target.thing
    asked = within(workflow, "edge.publish", status_topic="em/status/{thing}")
    cloud.report(thing)
    application = seen(asked)[2]
    assert application.status == "unknown"
    assert "nothing is retained on em/status/" in application.reason
    status_message = message(thing, front=("absent", 9.0))
    status_message["streams"]["front"]["reason"] = "is not there (Connection refused)"
    retained(cloud, f"em/status/{thing}", status_message)
    status, device, application = seen(asked)
    assert (device.health, device.well) == ("HEALTHY", False)
    assert application.streams[0].reason == "is not there (Connection refused)"
    (warning,) = application.warnings
    assert warning == "front has had no result for 9 s: over 5 intervals (1s)"
    assert status.last_results
    assert status.last_results.source == f"status of the application on {thing}"
    assert abs(time.time() - 9 - status.last_results.time.timestamp()) < 15


def test_what_a_lite_nucleus_does_not_retain_is_said_not_to_be_known(workflow, cloud):
    thing = workflow.cloud.deployment.target.thing
    cloud.report(thing, runtime="aws_nucleus_lite")
    asked = within(workflow, "edge.publish", status_topic="em/status/{thing}")
    application = seen(asked)[2]
    assert application.reason == "the lite nucleus does not pass on that a message is to be retained"
    assert application.warnings == ()


def test_without_a_topic_of_the_status_that_is_said(workflow, cloud):
    cloud.report(workflow.cloud.deployment.target.thing)
    application = seen(workflow)[2]
    assert "the workflow has no edge.publish.status_topic" in application.reason


def test_an_endpoint_without_iots_data_is_not_known_and_hides_nothing_else(workflow, cloud, monkeypatch):
    cloud.report(workflow.cloud.deployment.target.thing)
    asked = within(workflow, "edge.publish", status_topic="em/status/{thing}")
    session = boto3.Session(region_name=workflow.aws.region)

    def deny(model: Any, params: Any, **_: Any) -> None:
        params["headers"]["X-Amz-Content-Sha256"] = "0" * 64

    session.events.register("before-call.iot-data-plane", deny)
    _, device, application = seen(asked, session)
    assert device.health == "HEALTHY"
    assert application.status == "unknown"
    assert "(InvalidSignatureException)" in application.reason
