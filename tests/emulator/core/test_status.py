"""Reports: what is in them, and that the newest one always gets through."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emflow_emulator.core.cloud_client import CloudLost, CloudRefused
from emflow_emulator.core.component import Component, State
from emflow_emulator.core.logs import DeviceLog
from emflow_emulator.core.status import Progress, Reporter, report
from emulator.core.pieces import LINUX, lines, plan
from support import until


def component(name: str, state: State) -> Component:
    made = Component(plan(name), None)  # type: ignore[arg-type]
    made.state = state
    return made


def test_a_report_names_all_components_and_the_deployment() -> None:
    progress = Progress("id", "FAILED", "why", ("DEPLOYMENT_FAILURE",), ("DEVICE_ERROR",))
    found = report([component("a", State.RUNNING)], progress, LINUX, {"a": "deployment-1"})

    assert found["components"] == [
        {
            "componentName": "a",
            "componentVersion": "1.0.0",
            "lifecycleState": "RUNNING",
            "lifecycleStateDetails": "",
            "lifecycleStatusCodes": [],
            "isRoot": True,
            "installationSource": "deployment-1",
        }
    ]
    assert found["deployment"] == {
        "deploymentId": "id",
        "coreDeviceExecutionStatus": "FAILED",
        "reason": "why",
        "errorStack": ["DEPLOYMENT_FAILURE"],
        "errorTypes": ["DEVICE_ERROR"],
    }
    assert (found["platform"], found["architecture"], found["status"]) == ("linux", "amd64", "HEALTHY")


def test_one_broken_component_makes_the_device_unhealthy() -> None:
    states = [component("a", State.RUNNING), component("b", State.BROKEN)]

    assert report(states, None, LINUX)["status"] == "UNHEALTHY"
    assert report(states, None, LINUX)["deployment"] is None


class Cloud:
    """Takes reports, or does not."""

    def __init__(self) -> None:
        self.taken: list[Mapping[str, Any]] = []
        self.trouble: list[Exception] = []

    def take(self, document: Mapping[str, Any]) -> None:
        if self.trouble:
            raise self.trouble.pop(0)
        self.taken.append(document)


def test_a_report_that_got_lost_is_made_anew_and_sent_again(tmp_path: Path) -> None:
    cloud, now = Cloud(), {"deployment": None, "number": 1}
    cloud.trouble = [CloudLost("away"), CloudLost("still away")]
    reporter = Reporter(lambda: dict(now), cloud.take, DeviceLog(tmp_path / "log"))
    reporter.start()
    assert not cloud.taken
    now["number"] = 2
    until(lambda: cloud.taken)
    reporter.stop()

    assert cloud.taken[0]["number"] == 2
    assert any("could not be published" in line for line in lines(tmp_path / "log"))


def test_a_deployment_that_the_cloud_no_longer_knows_does_not_hold_the_states_back(tmp_path: Path) -> None:
    cloud = Cloud()
    cloud.trouble = [CloudRefused("deployment does not exist")]
    reporter = Reporter(lambda: {"deployment": {"deploymentId": "x"}}, cloud.take, DeviceLog(tmp_path / "log"))
    reporter.start()
    until(lambda: cloud.taken)
    reporter.stop()

    assert cloud.taken[0] == {"deployment": None}


def test_the_last_change_is_reported_before_the_end(tmp_path: Path) -> None:
    cloud = Cloud()
    reporter = Reporter(lambda: {"deployment": None}, cloud.take, DeviceLog(tmp_path / "log"))
    reporter.start()
    assert len(cloud.taken) == 1
    reporter.stop()

    assert len(cloud.taken) == 2
