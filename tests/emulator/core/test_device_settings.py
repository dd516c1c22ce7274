"""Configuration that changes while a component runs on the whole device, and components' say in a deployment."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import dropwhile
from typing import Any

import pytest

from emulator.core.conftest import Cloud
from emulator.core.ipc_device import access
from emulator.core.pieces import Listener, lines, publishing
from support import until

pytestmark = pytest.mark.e2e

LISTEN = """
import json, os, sys, time
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc.model import ConfigurationValidityReport
client = GreengrassCoreIPCClientV2()

def note(*words):
    with open("log", "a") as log:
        print(*words, file=log, flush=True)

def updated(event):
    key = event.configuration_update_event.key_path
    note("updated", key, client.get_configuration(key_path=key).value)

def validate(event):
    asked = event.validate_configuration_update_event
    good = asked.configuration["rate"].isdigit()
    report = ConfigurationValidityReport(
        status="ACCEPTED" if good else "REJECTED", deployment_id=asked.deployment_id, message="rate is no number"
    )
    client.send_configuration_validity_report(configuration_validity_report=report)

asked = []
def update(event):
    if event.pre_update_event:
        asked.append(1)
        wait = 300 if len(asked) == 2 else 0
        note("asked", wait, *["the nucleus restarts"] * event.pre_update_event.is_ggc_restarting)
        client.defer_component_update(deployment_id=event.pre_update_event.deployment_id, recheck_after_ms=wait)
    else:
        note("done")

client.subscribe_to_configuration_update(on_stream_event=updated)
client.subscribe_to_validate_configuration_updates(on_stream_event=validate)
client.subscribe_to_component_updates(on_stream_event=update)
note("up")
time.sleep(600)
"""
DEFAULTS = {"rate": "1", "deep": {"on": "x"}}


@pytest.fixture
def app(cloud: Cloud, device: Any) -> str:
    """A component that hears what happens to its configuration, as it runs on a device."""
    name = f"listens-{device.thing}"
    uri = cloud.put(f"{name}/listen.zip", {"listen.py": LISTEN})
    cloud.component(
        name,
        artifacts=[{"URI": uri, "Unarchive": "ZIP"}],
        defaults=DEFAULTS,
        lifecycle={"run": 'exec python3 -u "{artifacts:decompressedPath}/listen/listen.py"'},
    )
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{name: "1.0.0"}))
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
    until(lambda: "up" in lines(device.layout.work(name) / "log"))
    return name


def heard(device: Any, app: str) -> list[str]:
    """What it wrote since it was first asked: it may have come up in time for the end of its own deployment."""
    wrote = lines(device.layout.work(app) / "log")
    assert wrote.count("up") == 1
    return list(dropwhile(lambda line: not line.startswith("asked"), wrote))


def configured(cloud: Cloud, device: Any, app: str, **merge: Any) -> dict[str, Any]:
    """Deploy with this configuration; the outcome."""
    wanted = {"componentVersion": "1.0.0", "configurationUpdate": {"merge": json.dumps(merge)}}
    return cloud.outcome(device.thing, cloud.deploy(device.arn, **{app: wanted}))


def test_a_component_hears_of_its_new_configuration_and_goes_on(cloud: Cloud, device: Any, app: str) -> None:
    outcome = configured(cloud, device, app, rate="2", deep={"more": "y"})
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
    until(lambda: len(heard(device, app)) == 4)

    assert sorted(heard(device, app)) == [
        "asked 0",
        "done",
        "updated ['deep', 'more'] {'more': 'y'}",
        "updated ['rate'] {'rate': '2'}",
    ]
    assert cloud.installed(device.thing)[app] == ("1.0.0", "RUNNING")


def test_a_rejected_configuration_fails_the_deployment_and_the_old_one_stays(
    cloud: Cloud, device: Any, app: str
) -> None:
    outcome = configured(cloud, device, app, rate="fast")

    assert outcome["coreDeviceExecutionStatus"] == "FAILED"
    assert outcome["reason"] == (
        "FAILED_NO_STATE_CHANGE: Components reported that their to-be-deployed configuration is invalid "
        f"{{ name = {app}, message = rate is no number }}"
    )
    assert outcome["statusDetails"] == {
        "errorStack": ["DEPLOYMENT_FAILURE", "COMPONENT_CONFIGURATION_NOT_VALID"],
        "errorTypes": ["USER_COMPONENT_ERROR"],
    }
    assert device.configuration(app) == DEFAULTS
    until(lambda: heard(device, app) == ["asked 0", "done"])
    assert configured(cloud, device, app, rate="3")["coreDeviceExecutionStatus"] == "SUCCEEDED"
    assert device.configuration(app) == DEFAULTS | {"rate": "3"}


@pytest.mark.parametrize("both", [True, False])
def test_a_deployment_that_changes_a_component_that_never_answers_too_fails(
    cloud: Cloud, device: Any, app: str, both: bool
) -> None:
    silent = f"silent-{device.thing}"
    cloud.component(silent, defaults={"key": "old"}, lifecycle={"run": "exec sleep 600"})
    names = {app: "rate", silent: "key"}
    roots = {name: {"componentVersion": "1.0.0"} for name in names}
    cloud.outcome(device.thing, cloud.deploy(device.arn, **roots))
    changed = {
        name: {"componentVersion": "1.0.0", "configurationUpdate": {"merge": json.dumps({key: "7"})}}
        for name, key in names.items()
        if both or name == silent
    }
    policies = {"configurationValidationPolicy": {"timeoutInSeconds": 1}}
    answer = cloud.greengrass.create_deployment(
        targetArn=device.arn, components={**roots, **changed}, deploymentPolicies=policies
    )
    outcome = cloud.outcome(device.thing, answer["deploymentId"])

    assert outcome["coreDeviceExecutionStatus"] == ("FAILED" if both else "SUCCEEDED")
    assert not both or f"name = {silent}, message = no validity report within 1 s" in outcome["reason"]
    assert device.configuration(silent) == {"key": "old" if both else "7"}


def test_a_new_version_is_not_asked_of_the_old_one(cloud: Cloud, device: Any, app: str) -> None:
    cloud.component(app, "2.0.0", defaults={"rate": "not for you"}, lifecycle={"run": "exec sleep 600"})
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{app: "2.0.0"}))

    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"


def test_a_component_defers_a_deployment_unless_nobody_asks(cloud: Cloud, device: Any, app: str) -> None:
    for _ in range(2):
        configured(cloud, device, app)
    until(lambda: heard(device, app) == ["asked 0", "done", "asked 300", "asked 0", "done"])

    policies = {"componentUpdatePolicy": {"action": "SKIP_NOTIFY_COMPONENTS"}}
    answer = cloud.greengrass.create_deployment(
        targetArn=device.arn, components={app: {"componentVersion": "1.0.0"}}, deploymentPolicies=policies
    )
    cloud.outcome(device.thing, answer["deploymentId"])
    until(lambda: heard(device, app)[-2:] == ["done", "done"])


def test_components_hear_that_a_bootstrap_will_restart_them(cloud: Cloud, device: Any, app: str) -> None:
    boots = f"boots-{device.thing}"
    cloud.component(boots, lifecycle={"bootstrap": "exit 101", "run": "exec sleep 600"})
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{app: "1.0.0", boots: "1.0.0"}))
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
    log = device.layout.work(app) / "log"
    until(lambda: lines(log).count("up") == 2)

    assert "asked 0 the nucleus restarts" in lines(log)
    assert cloud.installed(device.thing) == {app: ("1.0.0", "RUNNING"), boots: ("1.0.0", "RUNNING")}


HEAR = """
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
import time
client = GreengrassCoreIPCClientV2()
def hear(event):
    client.publish_to_iot_core(topic_name="heard", qos="1", payload=event.message.payload)
client.subscribe_to_iot_core(topic_name="cmd/+", qos="1", on_stream_event=hear)
client.update_state(state="RUNNING")
client.publish_to_iot_core(topic_name="heard", qos="1", payload=b"ready")
time.sleep(600)
"""


def test_a_component_hears_commands_from_the_cloud(cloud: Cloud, device: Any) -> None:
    uri = cloud.put("hear/hear.zip", {"hear.py": HEAR})
    may = publishing("heard")["accessControl"]["aws.greengrass.ipc.mqttproxy"]
    may |= access("aws.greengrass.ipc.mqttproxy", ["SubscribeToIoTCore"], ["cmd/#"])["accessControl"][
        "aws.greengrass.ipc.mqttproxy"
    ]
    cloud.component(
        "hear",
        artifacts=[{"URI": uri, "Unarchive": "ZIP"}],
        defaults={"accessControl": {"aws.greengrass.ipc.mqttproxy": may}},
        lifecycle={"startup": {"Script": 'python3 -u "{artifacts:decompressedPath}/hear/hear.py"', "Timeout": 30}},
    )
    with closing(Listener(cloud.broker, "heard")) as listener:
        cloud.deploy(device.arn, hear="1.0.0")
        assert listener.next()[1] == b"ready"
        until(lambda: cloud.installed(device.thing)["hear"] == ("1.0.0", "RUNNING"))
        device.publish("cmd/go", b"now", 1, False)
        assert listener.next()[1] == b"now"


ERRORED = """
import time
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
GreengrassCoreIPCClientV2().update_state(state="ERRORED")
time.sleep(600)
"""


def test_a_component_that_says_three_times_that_it_failed_is_broken(cloud: Cloud, device: Any) -> None:
    uri = cloud.put("errored/errored.zip", {"errored.py": ERRORED})
    cloud.component(
        "errored",
        artifacts=[{"URI": uri, "Unarchive": "ZIP"}],
        lifecycle={"startup": 'echo try >> log; python3 "{artifacts:decompressedPath}/errored/errored.py"'},
    )
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, "DO_NOTHING", errored="1.0.0"))

    assert outcome["reason"] == "FAILED_ROLLBACK_NOT_REQUESTED: Service errored in broken state after deployment"
    assert cloud.installed(device.thing) == {"errored": ("1.0.0", "BROKEN")}
    assert cloud.greengrass.get_core_device(coreDeviceThingName=device.thing)["status"] == "UNHEALTHY"
    assert lines(device.layout.work("errored") / "log") == ["try"] * 3
