"""Deployments to a device on which something runs: what did not change stays, and what was accepted is not lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emulator.core.conftest import BUCKET, Cloud
from emulator.core.pieces import alive, lines
from support import until

pytestmark = pytest.mark.e2e

FOREVER = 'echo "up $$" >> log; exec sleep 600'
COMPONENT = """
import datetime, json, os, time
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
client = GreengrassCoreIPCClientV2()

def note(*words):
    with open("log", "a") as log:
        print(*words, file=log, flush=True)

def asked(event):
    if not event.pre_update_event:
        return
    wait = int(open("defer").read()) if os.path.exists("defer") else 0
    note("asked", wait)
    client.defer_component_update(deployment_id=event.pre_update_event.deployment_id, recheck_after_ms=wait)

client.subscribe_to_component_updates(on_stream_event=asked)
note("up", os.getpid())
done = 0
while True:
    if os.path.exists("update"):
        values = json.load(open("update"))
        client.update_configuration(value_to_merge=values, timestamp=datetime.datetime.now(datetime.timezone.utc))
        os.remove("update")
        note("updated", json.dumps(values, sort_keys=True))
    time.sleep(0.02)
"""


class Talking:
    """A component that does on the device what a test asks for: deferring deployments, updating its configuration."""

    def __init__(self, cloud: Cloud, device: Any) -> None:
        self.name = f"talking-{device.thing}"
        self._device = device
        uri = cloud.put(f"{self.name}/talking.zip", {"talking.py": COMPONENT})
        cloud.component(
            self.name,
            artifacts=[{"URI": uri, "Unarchive": "ZIP"}],
            defaults={"key": "default"},
            lifecycle={"run": 'exec python3 -u "{artifacts:decompressedPath}/talking/talking.py"'},
        )

    @property
    def log(self) -> list[str]:
        return lines(self._device.layout.work(self.name) / "log")

    def defer(self, milliseconds: int) -> None:
        """From now on, at each deployment."""
        self._write("defer", str(milliseconds))

    def update(self, **values: str) -> None:
        """Update its configuration; returns when that was accepted."""
        text = json.dumps(values, sort_keys=True)
        before = self.log.count(f"updated {text}")
        self._write("update", text)
        until(lambda: self.log.count(f"updated {text}") == before + 1)

    def _write(self, name: str, text: str) -> None:
        file = self._device.layout.work(self.name) / name
        file.with_suffix(".new").write_text(text)
        file.with_suffix(".new").replace(file)


@pytest.fixture
def talking(cloud: Cloud, device: Any) -> Talking:
    talking = Talking(cloud, device)
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{talking.name: "1.0.0"}))
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
    until(lambda: talking.log)
    return talking


def status(cloud: Cloud, device: Any, deployment: str) -> str:
    listed = cloud.greengrass.list_effective_deployments(coreDeviceThingName=device.thing)["effectiveDeployments"]
    return next((each["coreDeviceExecutionStatus"] for each in listed if each["deploymentId"] == deployment), "")


def merging(**values: str) -> dict[str, Any]:
    return {"componentVersion": "1.0.0", "configurationUpdate": {"merge": json.dumps(values)}}


VENV = """
cd "{artifacts:decompressedPath}/venv"
mkdir -p made/bin
printf '#!/bin/sh\\necho from the virtual environment\\n' > made/bin/program
chmod 755 made/bin/program
echo installed >> "{work:path}/installs"
"""


def test_what_an_install_step_made_beside_its_files_survives_deployments_and_restarts(
    cloud: Cloud, device: Any
) -> None:
    name = f"venv-{device.thing}"
    uri = cloud.put(f"{name}/venv.zip", {"data": "x"})
    run = '"{artifacts:decompressedPath}/venv/made/bin/program" >> log && echo "up $$" >> log && exec sleep 600'
    cloud.component(
        name,
        artifacts=[{"URI": uri, "Unarchive": "ZIP"}],
        lifecycle={"install": VENV, "run": run},
        defaults={"key": "old"},
    )
    cloud.component("beside", lifecycle={"run": FOREVER})
    cloud.component("beside", "2.0.0", lifecycle={"run": FOREVER})
    work = device.layout.work(name)
    for version in ("1.0.0", "2.0.0", "1.0.0"):
        outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{name: "1.0.0", "beside": version}))
        assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED", outcome
    assert len(lines(work / "log")) == 2
    assert lines(work / "installs") == ["installed"]

    pid = lines(work / "log")[1].split()[1]
    os.kill(int(pid), signal.SIGKILL)
    until(lambda: len(lines(work / "log")) == 4)
    assert lines(work / "log")[2] == "from the virtual environment"


def test_a_component_that_removed_one_of_its_folders_runs_on_in_the_other(cloud: Cloud, device: Any) -> None:
    name = f"two-zips-{device.thing}"
    uris = [cloud.put(f"{name}/{each}.zip", {"data": each}) for each in ("wheels", "app")]
    cloud.component(
        name,
        artifacts=[{"URI": uri, "Unarchive": "ZIP"} for uri in uris],
        lifecycle={
            "install": 'cd "{artifacts:decompressedPath}"; echo venv > app/venv; rm -r wheels',
            "run": 'cd "{artifacts:decompressedPath}/app"; echo "up $$" >> "{work:path}/log"; exec sleep 600',
        },
    )
    cloud.component("beside-two-zips", lifecycle={"run": FOREVER})
    for beside in ({}, {"beside-two-zips": "1.0.0"}):
        outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{name: "1.0.0"} | beside))
        assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED", outcome
    until(lambda: lines(device.layout.work(name) / "log"))
    (up,) = lines(device.layout.work(name) / "log")
    folder = device.layout.unarchived(name, "1.0.0") / "app"

    assert Path(f"/proc/{up.split()[1]}/cwd").samefile(folder)
    assert (folder / "venv").read_text() == "venv\n"


def test_other_artifacts_under_the_same_version_take_effect(cloud: Cloud, device: Any) -> None:
    name = f"again-{device.thing}"

    def publish(text: str) -> None:
        arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{name}:versions:1.0.0"
        if text != "one":
            cloud.greengrass.delete_component(arn=arn)
        uri = cloud.put(f"{name}/{text}/app.zip", {"text": text})
        script = 'cat "{artifacts:decompressedPath}/app/text" >> log; echo >> log; exec sleep 600'
        install = 'echo installed >> installs; touch "{artifacts:decompressedPath}/app/own"'
        cloud.component(
            name, artifacts=[{"URI": uri, "Unarchive": "ZIP"}], lifecycle={"install": install, "run": script}
        )

    work = device.layout.work(name)
    for count, text in enumerate(("one", "two", "two"), 1):
        if (text, count) != ("two", 3):
            publish(text)
        cloud.outcome(device.thing, cloud.deploy(device.arn, **{name: "1.0.0"}))
    assert lines(work / "log") == ["one", "two"]
    assert len(lines(work / "installs")) == 2
    kept = device.layout.unarchived(name, "1.0.0") / "app"
    assert sorted(path.name for path in kept.iterdir()) == ["own", "text"]


def test_a_rollback_takes_back_the_artifacts_of_the_same_version(cloud: Cloud, device: Any) -> None:
    name = f"back-{device.thing}"
    arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{name}:versions:1.0.0"
    run = 'cat "{artifacts:decompressedPath}/app/text" >> log; echo >> log; exec sleep 600'
    bad = f'grep -q good "{{artifacts:decompressedPath}}/app/text" || exit 1; {run}'
    for text in ("good", "bad"):
        uri = cloud.put(f"{name}/{text}/app.zip", {"text": text})
        cloud.component(name, artifacts=[{"URI": uri, "Unarchive": "ZIP"}], lifecycle={"run": bad})
        outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{name: "1.0.0"}))
        if text == "good":
            cloud.greengrass.delete_component(arn=arn)
    assert outcome["reason"].startswith("FAILED_ROLLBACK_COMPLETE")
    until(lambda: cloud.installed(device.thing)[name] == ("1.0.0", "RUNNING"))

    assert lines(device.layout.work(name) / "log") == ["good", "good"]


def test_an_update_during_a_deferral_is_not_lost(cloud: Cloud, device: Any, talking: Talking) -> None:
    talking.defer(300)
    deployment = cloud.deploy(device.arn, **{talking.name: merging(key="deployed", other="deployed")})
    until(lambda: "asked 300" in talking.log)
    talking.update(key="own", more="own")
    talking.defer(0)
    assert cloud.outcome(device.thing, deployment)["coreDeviceExecutionStatus"] == "SUCCEEDED"

    # What the component set is newer than the deployment; what it did not set is the deployment's.
    assert device.configuration(talking.name) == {"key": "own", "more": "own", "other": "deployed"}


def test_a_later_deployment_counts_more_than_an_earlier_update(cloud: Cloud, device: Any, talking: Talking) -> None:
    talking.update(key="own", more="own")
    cloud.outcome(device.thing, cloud.deploy(device.arn, **{talking.name: merging(key="deployed")}))

    assert device.configuration(talking.name) == {"key": "deployed", "more": "own"}


def test_a_rollback_keeps_what_a_component_updated_meanwhile(cloud: Cloud, device: Any, talking: Talking) -> None:
    slow = f"slow-{device.thing}"
    cloud.component(slow, lifecycle={"startup": "until [ -e fail ]; do sleep 0.05; done; exit 1"})
    deployment = cloud.deploy(device.arn, **{talking.name: merging(key="deployed"), slow: "1.0.0"})
    until(lambda: device.configuration(talking.name)["key"] == "deployed")
    talking.update(more="own")
    work = device.layout.work(slow)
    work.mkdir(parents=True, exist_ok=True)
    (work / "fail").touch()
    outcome = cloud.outcome(device.thing, deployment)

    assert outcome["reason"].startswith("FAILED_ROLLBACK_COMPLETE")
    assert device.configuration(talking.name) == {"key": "default", "more": "own"}


def test_a_device_that_starts_again_does_not_take_back_what_a_component_updated(
    cloud: Cloud, make_device: Callable[..., Any]
) -> None:
    device = make_device(thing="updates-kept")
    talking = Talking(cloud, device)
    cloud.outcome(device.thing, cloud.deploy(device.arn, **{talking.name: merging(key="deployed")}))
    until(lambda: talking.log)
    talking.update(key="own")
    device.stop()
    second = make_device(thing="updates-kept")
    until(lambda: len([line for line in talking.log if line.startswith("up ")]) == 2)

    assert second.configuration(talking.name) == {"key": "own"}


def test_a_device_of_several_targets_that_starts_again_loses_no_update(
    cloud: Cloud, make_device: Callable[..., Any]
) -> None:
    device = make_device(thing="two-targets")
    group = cloud.iot.create_thing_group(thingGroupName="first-target")["thingGroupArn"]
    cloud.iot.add_thing_to_thing_group(thingGroupName="first-target", thingName=device.thing)
    cloud.component("of-the-group", lifecycle={"run": FOREVER})
    cloud.outcome(device.thing, cloud.deploy(group, **{"of-the-group": "1.0.0"}))
    talking = Talking(cloud, device)
    cloud.outcome(device.thing, cloud.deploy(device.arn, **{talking.name: "1.0.0"}))
    until(lambda: talking.log)
    talking.update(key="own")
    device.stop()
    second = make_device(thing="two-targets")
    until(lambda: len([line for line in talking.log if line.startswith("up ")]) == 2)

    assert second.configuration(talking.name) == {"key": "own"}
    cloud.iot.remove_thing_from_thing_group(thingGroupName="first-target", thingName=device.thing)
    cloud.outcome(device.thing, cloud.deploy(device.arn, **{talking.name: merging(key="next")}))
    until(lambda: cloud.installed(device.thing).keys() == {talking.name})


def test_a_cancel_ends_a_deferral(cloud: Cloud, device: Any, talking: Talking) -> None:
    talking.defer(3_600_000)
    deployment = cloud.deploy(device.arn, **{talking.name: merging(key="deployed")})
    until(lambda: "asked 3600000" in talking.log)
    cloud.greengrass.cancel_deployment(deploymentId=deployment)
    until(lambda: status(cloud, device, deployment) == "CANCELED")

    assert device.configuration(talking.name) == {"key": "default"}
    talking.defer(0)
    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{talking.name: merging(key="next")}))
    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
    assert device.configuration(talking.name) == {"key": "next"}
    assert len([line for line in talking.log if line.startswith("up ")]) == 1


def test_a_newer_deployment_ends_the_deferral_of_the_one_before(cloud: Cloud, device: Any, talking: Talking) -> None:
    talking.defer(3_600_000)
    first = cloud.deploy(device.arn, **{talking.name: merging(key="first")})
    until(lambda: "asked 3600000" in talking.log)
    talking.defer(0)
    second = cloud.deploy(device.arn, **{talking.name: merging(other="second")})
    assert cloud.outcome(device.thing, second)["coreDeviceExecutionStatus"] == "SUCCEEDED"

    assert status(cloud, device, first) == "CANCELED"
    assert device.configuration(talking.name) == {"key": "default", "other": "second"}


def test_a_component_that_always_defers_holds_no_deployment_beyond_its_limit(
    cloud: Cloud, device: Any, talking: Talking
) -> None:
    talking.defer(3_600_000)
    policies = {"componentUpdatePolicy": {"action": "NOTIFY_COMPONENTS", "timeoutInSeconds": 1}}
    answer = cloud.greengrass.create_deployment(
        targetArn=device.arn, components={talking.name: merging(key="deployed")}, deploymentPolicies=policies
    )
    outcome = cloud.outcome(device.thing, answer["deploymentId"])

    assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
    assert device.configuration(talking.name) == {"key": "deployed"}


def test_a_version_with_build_metadata_is_deployed_and_no_other_build_of_it(cloud: Cloud, device: Any) -> None:
    name = f"built-{device.thing}"
    for build in ("b", "a", "c"):
        cloud.s3.put_object(Bucket=BUCKET, Key=f"{name}/{build}/text", Body=build.encode())
        cloud.component(
            name,
            f"1.0.0+{build}",
            artifacts=[{"URI": f"s3://{BUCKET}/{name}/{build}/text"}],
            lifecycle={"run": 'cat "{artifacts:path}/text" >> log; echo >> log; exec sleep 600'},
        )
    cloud.component(f"needs-{name}", dependencies={name: ">=1.0.0"}, lifecycle={"run": FOREVER})
    for build in ("a", "b", "c", "a"):
        wanted = {name: f"1.0.0+{build}", f"needs-{name}": "1.0.0"}
        outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **wanted))
        assert outcome["coreDeviceExecutionStatus"] == "SUCCEEDED"
        assert cloud.installed(device.thing)[name] == (f"1.0.0+{build}", "RUNNING")

    assert lines(device.layout.work(name) / "log") == ["a", "b", "c", "a"]


def test_what_a_component_detached_ends_with_it_and_with_the_device(
    cloud: Cloud, make_device: Callable[..., Any]
) -> None:
    device = make_device()
    name = f"detaches-{device.thing}"
    for at, version in enumerate(("1.0.0", "2.0.0"), 1):
        script = '(env -i setsid sh -c \'echo $$ >> "$1"; exec sleep 600\' sh "$PWD/pids" &) ; exec sleep 600'
        cloud.component(name, version, lifecycle={"run": script})
        cloud.outcome(device.thing, cloud.deploy(device.arn, **{name: version}))
        until(lambda at=at: len(lines(device.layout.work(name) / "pids")) == at)
    first, second = lines(device.layout.work(name) / "pids")
    assert not alive(first)
    assert alive(second)
    device.stop()
    assert not alive(second)
