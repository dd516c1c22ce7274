"""`emflow destroy` as it is typed: what goes, what stays and why, on lines that fit a terminal."""

from __future__ import annotations

import signal
import sys

import pytest

from resources.conftest import client, embedded, endpoint, file, report  # noqa: F401 fixtures

pytestmark = pytest.mark.e2e


def test_destroy_takes_down_what_was_made_says_what_it_keeps_and_then_finds_nothing(emflow, file):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    destroyed = emflow("destroy", file, "--yes")
    assert destroyed.code == 0
    assert "- fleet/fleet" in destroyed.out
    assert "- bucket/components" not in destroyed.out
    kept = "  = kept: bucket/components, bucket/inference_results (data; --delete-data removes it)"
    assert kept in destroyed.out.splitlines()

    again = emflow("destroy", file, "--yes")
    assert again.code == 0
    assert again.out.splitlines() == [kept, "Nothing to remove."]
    assert max(map(len, again.out.splitlines())) <= 100

    assert "- bucket/components" in emflow("destroy", file, "--yes", "--delete-data").out
    assert emflow("destroy", file, "--yes", "--delete-data").out.splitlines() == ["Nothing to remove."]


def test_the_core_device_goes_only_when_asked(emflow, file, client, report):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    thing = file.read_text().split("thing: ")[1].split("}")[0]
    target, greengrass = f"arn:aws:iot:us-east-1:123456789012:thing/{thing}", client("greengrassv2")
    (listed,) = greengrass.list_deployments(targetArn=target)["deployments"]
    report(thing, listed["deploymentId"], "SUCCEEDED")
    assert "device/core" not in emflow("destroy", file, "--yes").out
    printed = emflow("destroy", file, "--yes", "--delete-core-device")
    assert f"  - device/core  {thing}" in printed.out.splitlines()
    assert printed.code == 0
    cores = greengrass.get_paginator("list_core_devices").paginate()
    assert thing not in [core["coreDeviceThingName"] for page in cores for core in page["coreDevices"]]


def test_an_interrupted_destroy_says_what_is_left_and_goes_on(start, emflow, file):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    process = start(sys.executable, "-m", "emflow", "destroy", str(file), "--yes", "--delete-data")
    process.says("✓ deployment/target")
    code = process.end(signal.SIGINT)
    assert "Traceback" not in process.text()
    if code:  # else it was already done
        assert code == 130
        assert "not begun: " in process.text()
    assert emflow("destroy", file, "--yes", "--delete-data").code == 0
    assert emflow("destroy", file, "--yes", "--delete-data").out.splitlines() == ["Nothing to remove."]
