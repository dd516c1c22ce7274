"""A device that is stopped and started again on the same folder goes on with what it had."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from emulator.core.conftest import Cloud
from emulator.core.pieces import lines
from support import until

pytestmark = pytest.mark.e2e

APP = 'echo "up $(cat "{artifacts:decompressedPath}/app/text")" >> log; exec sleep 600'


def deployed_app(cloud: Cloud, device: Any, name: str, **more: Any) -> None:
    """Deploy an application with an artifact, and wait until it runs."""
    uri = cloud.put(f"{name}/app.zip", {"text": "hello"})
    cloud.component(name, artifacts=[{"URI": uri, "Unarchive": "ZIP"}], lifecycle={"run": APP} | more)
    update = {"merge": json.dumps({"key": "deployed"})}
    wanted = {name: {"componentVersion": "1.0.0", "configurationUpdate": update}}
    assert cloud.outcome(device.thing, cloud.deploy(device.arn, **wanted))["coreDeviceExecutionStatus"] == "SUCCEEDED"
    until(lambda: ups(device, name) == 1)


def ups(device: Any, name: str) -> int:
    return lines(device.layout.work(name) / "log").count("up hello")


def statuses(device: Any) -> list[str]:
    """The deployments that the device has carried out, as its log says."""
    return [line for line in lines(device.layout.greengrass_log) if "Received deployment in the queue" in line]


@pytest.mark.parametrize("end", ["rolled back", "not started", "cancelled"])
def test_what_ran_before_a_deployment_that_failed_runs_again(
    cloud: Cloud, make_device: Callable[..., Any], about_to_fail: Callable[[], None], end: str
) -> None:
    about_to_fail()
    name = f"goes-on-{end.replace(' ', '-')}"
    device = make_device(thing=name)
    deployed_app(cloud, device, name)
    cloud.component(f"bad-{name}", lifecycle={"run": "exit 1"})
    bad = {"rolled back": {f"bad-{name}": "1.0.0"}, "not started": {name: "1.0.0", f"none-{name}": "9.0.0"}}
    if end == "not started":
        cloud.component(f"none-{name}", "9.0.0", platform={"os": "none"}, lifecycle={"run": "true"})
    second = None
    if end in bad:
        second = cloud.deploy(device.arn, **bad[end])
        assert cloud.outcome(device.thing, second)["coreDeviceExecutionStatus"] == "FAILED"
        before = ups(device, name)
        device.stop()
    else:
        before = ups(device, name)
        device.stop()
        second = cloud.deploy(device.arn, **{f"bad-{name}": "1.0.0"})
        cloud.greengrass.cancel_deployment(deploymentId=second)
    carried_out = statuses(device)
    again = make_device(thing=name)
    until(lambda: ups(again, name) > before)
    until(lambda: cloud.installed(name) == {name: ("1.0.0", "RUNNING")})

    assert again.configuration(name) == {"key": "deployed"}
    third = cloud.deploy(again.arn, **{name: "1.0.0"})
    assert cloud.outcome(name, third)["coreDeviceExecutionStatus"] == "SUCCEEDED"
    assert len(statuses(again)) == len(carried_out) + 1  # no deployment was carried out twice
    assert ups(again, name) == before + 1


def test_a_bootstrap_step_is_not_run_again_when_the_device_starts(
    cloud: Cloud, make_device: Callable[..., Any]
) -> None:
    device = make_device(thing="boots-once")
    deployed_app(cloud, device, "boots-once", bootstrap="echo bootstrap >> log", install="echo install >> log")
    device.stop()
    again = make_device(thing="boots-once")
    until(lambda: ups(again, "boots-once") == 2)
    log = lines(again.layout.work("boots-once") / "log")

    assert (log.count("bootstrap"), log.count("install")) == (1, 2)


def test_what_cannot_be_read_back_is_deployed_again(cloud: Cloud, make_device: Callable[..., Any]) -> None:
    device = make_device(thing="reads-back")
    deployed_app(cloud, device, "reads-back")
    device.stop()
    device.layout.deployed.write_text("{")
    again = make_device(thing="reads-back")
    until(lambda: ups(again, "reads-back") == 2)
    until(lambda: cloud.installed("reads-back") == {"reads-back": ("1.0.0", "RUNNING")})
