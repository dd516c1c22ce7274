"""`emflow status`: devices, their deployment, components, jobs and results, for people and for programs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from jsonschema import Draft202012Validator

from emflow_emulator.aws import EmbeddedAws
from emflow_emulator.broker import Broker
from emflow_emulator.mqtt.packets import Message
from emflow_schema import load
from emulator.aws.pieces import signed
from resources.conftest import client, embedded, endpoint, file  # noqa: F401 fixtures
from support import PATIENCE

pytestmark = pytest.mark.e2e


@pytest.fixture
def device(file, client, embedded, endpoint):  # noqa: F811
    """The workflow's core device: what it says about itself."""
    thing = file.read_text().split("thing: ")[1].split("}")[0]

    def says(status, deployed="SUCCEEDED", components=(), **details):
        target = f"arn:aws:iot:us-east-1:123456789012:thing/{thing}"
        latest = client("greengrassv2").list_deployments(targetArn=target)["deployments"]
        body = {
            "coreVersion": "2.12.6",
            "platform": "linux",
            "architecture": "aarch64",
            "status": status,
            "components": [
                {
                    "componentName": name,
                    "componentVersion": "1.0.0",
                    "lifecycleState": state,
                    "isRoot": True,
                    "lifecycleStateDetails": "it ended with 1" if state == "BROKEN" else "",
                }
                for name, state in components
            ],
            "deployment": {
                "deploymentId": latest[0]["deploymentId"],
                "coreDeviceExecutionStatus": deployed,
                **details,
            },
        }
        request = signed(f"{endpoint}/_emflow/cores/{thing}", body, embedded.credentials)
        urllib.request.urlopen(request, timeout=PATIENCE).close()
        return thing

    return says


def as_status(text):
    status = json.loads(text)
    Draft202012Validator(load("status")).validate(status)
    return status


def test_before_anything_is_applied_that_is_what_it_says(emflow, file):  # noqa: F811
    shown = emflow("status", file, "--detailed-exitcode")
    assert shown.code == 3
    assert "not deployed yet: run emflow apply" in shown.out
    assert "never connected: is it set up as a core device?" in shown.out
    status = as_status(emflow("status", file, "--json").out)
    assert (status["deployment"], status["jobs"], status["last_results"]) == (None, [], None)


def test_a_device_that_is_well(emflow, file, device):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    thing = device("HEALTHY", components=[("app", "RUNNING"), ("model", "FINISHED")])
    shown = emflow("status", file, "--detailed-exitcode")
    assert shown.code == 0
    assert f"device       {thing}  HEALTHY  nucleus 2.12.6, linux aarch64, last seen " in shown.out
    assert "deployment  SUCCEEDED" in shown.out
    assert "app    1.0.0    RUNNING" in shown.out
    assert "compilation  compile-" in shown.out
    assert "COMPLETED" in shown.out
    status = as_status(emflow("status", file, "--json").out)
    assert status["well"]
    assert {job["kind"]: job["status"] for job in status["jobs"]} == {
        "compilation": "COMPLETED",
        "packaging": "COMPLETED",
    }


def test_a_device_that_is_not_well_says_why(emflow, file, device):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    device(
        "UNHEALTHY",
        "FAILED",
        [("app", "BROKEN")],
        reason="FAILED_NO_STATE_CHANGE: no space left. The last lines of its output:\nNo module named 'cv2'",
        errorStack=["DEPLOYMENT_FAILURE", "IO_ERROR"],
        errorTypes=["DEVICE_ERROR"],
    )
    shown = emflow("status", file, "--detailed-exitcode")
    assert shown.code == 3
    assert "UNHEALTHY" in shown.out
    reason = "      reason: FAILED_NO_STATE_CHANGE: no space left. The last lines of its output:"
    assert f"{reason}\n        No module named 'cv2'\n" in shown.out
    assert "errors: DEPLOYMENT_FAILURE > IO_ERROR" in shown.out
    assert "kinds:  DEVICE_ERROR" in shown.out
    assert "BROKEN  it ended with 1" in shown.out
    status = as_status(emflow("status", file, "--json").out)
    assert not status["well"]
    assert status["devices"][0]["deployment"]["error_stack"] == ["DEPLOYMENT_FAILURE", "IO_ERROR"]


def test_an_older_deployment_on_the_device_is_reported_as_such(emflow, file, device):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    device("HEALTHY")
    file.write_text(file.read_text() + "  publish: {topic: other/topic}\n")
    assert emflow("apply", file, "--yes").code == 0
    shown = emflow("status", file, "--detailed-exitcode")
    assert shown.code == 3
    assert "not the latest of its target, which has not arrived yet" in shown.out


def test_captured_data_says_when_results_last_came(emflow, file, client):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    text = file.read_text()
    bucket = text.split("inference_results: {name: ")[1].split("}")[0]
    fleet = text.split("fleet: {name: ")[1].split(",")[0]
    for hour in ("2026/01/02/03", "2026/11/30/23"):
        client("s3").put_object(
            Bucket=bucket, Key=f"sme-capture/{fleet}/scenes-224/{hour}/{'0' * 32}.jsonl", Body=b"{}"
        )
    shown = emflow("status", file)
    assert f"s ago (captures in s3://{bucket}/sme-capture/{fleet}/scenes-224/)" in shown.out
    assert as_status(emflow("status", file, "--json").out)["last_results"]["time"]


def test_a_thing_group_has_the_status_of_all_its_devices(emflow, file, client):  # noqa: F811
    number = file.read_text().split("name: test-")[1].split("}")[0]
    client("iot").create_thing_group(thingGroupName=f"group-{number}")
    client("iot").add_thing_to_thing_group(thingGroupName=f"group-{number}", thingName=f"core-{number}")
    file.write_text(
        file.read_text().replace('target: {thing: "{{ vars.thing }}"}', f"target: {{thing_group: group-{number}}}")
    )
    assert emflow("apply", file, "--yes").code == 0
    status = as_status(emflow("status", file, "--json").out)
    assert [(device["thing"], device["health"]) for device in status["devices"]] == [(f"core-{number}", "UNKNOWN")]


def test_watch_prints_changes_until_ctrl_c(start, emflow, file, device):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    watching = start(sys.executable, "-m", "emflow", "status", str(file), "--watch", "--every", "100ms", "--json")
    watching.says('"health": "UNKNOWN"')
    device("HEALTHY", "IN_PROGRESS")
    watching.says('"status": "IN_PROGRESS"')
    device("HEALTHY", "SUCCEEDED")
    watching.says('"well": true')
    assert watching.end(signal.SIGINT) == 0
    seen = [as_status(line) for line in watching.text().splitlines()]
    assert 3 <= len(seen) <= 6  # not one for each look
    assert [status["well"] for status in seen] == sorted(status["well"] for status in seen)


def test_watching_ends_when_whoever_reads_it_has_gone(file, endpoint):  # noqa: F811
    command = [sys.executable, "-m", "emflow", "status", str(file), "--watch", "--every", "100ms"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        assert watching.stderr
        assert "not deployed" in watching.stdout.readline()
        watching.stdout.close()  # as `head -1` does; there is no news that could not be written
        assert watching.wait(PATIENCE) == 1
        assert watching.stderr.read() == ""


def test_what_the_cameras_see_is_shown_and_no_results_are_a_warning(emflow, file, monkeypatch):  # noqa: F811
    thing = file.read_text().split("thing: ")[1].split("}")[0]
    file.write_text(file.read_text() + '  publish: {status_topic: "em/status/{thing}"}\n')
    with Broker() as broker, EmbeddedAws(port=0, job_seconds=0.1, broker=broker) as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws.credentials.id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws.credentials.secret)
        boto3.client("iot", region_name="us-east-1").create_thing(thingName=thing)
        assert emflow("apply", file, "--yes").code == 0
        target = f"arn:aws:iot:us-east-1:123456789012:thing/{thing}"
        greengrass = boto3.client("greengrassv2", region_name="us-east-1")
        (latest,) = greengrass.list_deployments(targetArn=target)["deployments"]
        body = {
            "coreVersion": "2.12.6",
            "platform": "linux",
            "architecture": "aarch64",
            "status": "HEALTHY",
            "deployment": {"deploymentId": latest["deploymentId"], "coreDeviceExecutionStatus": "SUCCEEDED"},
        }
        urllib.request.urlopen(signed(f"{aws.endpoint_url}/_emflow/cores/{thing}", body, aws.credentials)).close()

        def says(**stream):
            """Retain a status with this stream, and show the workflow's."""
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            message = {"thing": thing, "version": "1.0.0", "time": now, "status": "degraded", "since": now}
            message |= {
                "streams": {"front": stream},
                "agent": {"status": "no agent", "reason": "it is gone", "since": now},
            }
            broker.publish(Message(f"em/status/{thing}", json.dumps(message).encode(), 1, retain=True))
            return emflow("status", file, "--detailed-exitcode")

        shown = emflow("status", file, "--detailed-exitcode")
        assert shown.code == 0
        assert f"    cameras     not known: nothing is retained on em/status/{thing}: " in shown.out
        before = (datetime.now(UTC) - timedelta(minutes=5)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        shown = says(status="absent", reason="no route", since=before, last_result=before, seconds_without_result=300)
        assert shown.code == 3
        assert re.search(r"^    cameras     degraded since \d s ago  \(reported \d s ago\)$", shown.out, re.MULTILINE)
        assert "      front  absent since 5 min ago: no route, last result 5 min ago\n" in shown.out
        assert re.search(r"^      agent: no agent since \d s ago: it is gone$", shown.out, re.MULTILINE)
        assert "    warning: front has had no result for 5 min: over 5 intervals (1s)\n" in shown.out
        assert f"(status of the application on {thing})" in shown.out
        status = as_status(emflow("status", file, "--json").out)
        assert not status["well"]
        assert status["devices"][0]["application"]["warnings"]
        assert says(status="running", since=before, seconds_without_result=1).code == 0
