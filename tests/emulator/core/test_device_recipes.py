"""Recipes that are written in a form of their own, deployed to the device: what they say is what runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulator.core.conftest import Cloud
from emulator.core.pieces import lines, recipe
from support import until

pytestmark = pytest.mark.e2e


def publish(cloud: Cloud, document: dict[str, Any]) -> str:
    arn = cloud.greengrass.create_component_version(inlineRecipe=json.dumps(document).encode())["arn"]
    until(lambda: cloud.greengrass.describe_component(arn=arn)["status"]["componentState"] == "DEPLOYABLE")
    return str(document["ComponentName"])


def test_files_alone_and_recipe_wide_steps_and_values_from_the_configuration_run(cloud: Cloud, device: Any) -> None:
    uri = cloud.put("files/lib.zip", {"lib.txt": "x"})
    files = publish(cloud, recipe("com.example.Files", artifacts=[{"Uri": uri}], lifecycle={}))
    wide = publish(cloud, recipe("aws.greengrass.labs.Wide") | {"Lifecycle": {"run": "echo wide >> log; sleep 600"}})
    step = {
        "Script": 'echo "$DEBUG $PORT" >> log; sleep 600',
        "Timeout": "{configuration:/limit}",
        "RequiresPrivilege": "{configuration:/root}",
        "Setenv": {"DEBUG": True, "PORT": 8080},
    }
    late = recipe("com.example.Late", lifecycle={"run": step}, defaults={"limit": "300", "root": "true"})
    publish(cloud, late)

    deployment = cloud.deploy(device.arn, **{files: "1.0.0", wide: "1.0.0", "com.example.Late": "1.0.0"})

    assert cloud.outcome(device.thing, deployment)["coreDeviceExecutionStatus"] == "SUCCEEDED"
    until(lambda: lines(device.layout.work(wide) / "log") == ["wide"])
    until(lambda: lines(device.layout.work("com.example.Late") / "log") == ["true 8080"])
    assert {name: state for name, (_, state) in cloud.installed(device.thing).items()} == {
        files: "FINISHED",
        wide: "RUNNING",
        "com.example.Late": "RUNNING",
    }
    assert any("RequiresPrivilege has no effect" in line for line in lines(device.layout.log("com.example.Late")))


def test_a_timeout_that_is_no_number_fails_the_deployment_and_says_so(cloud: Cloud, device: Any) -> None:
    step = {"Script": "sleep 1", "Timeout": "{configuration:/limit}"}
    name = publish(cloud, recipe("com.example.Soon", lifecycle={"run": step}, defaults={"limit": "soon"}))

    outcome = cloud.outcome(device.thing, cloud.deploy(device.arn, **{name: "1.0.0"}))

    assert outcome["coreDeviceExecutionStatus"] == "FAILED"
    assert "Timeout of the step run, {configuration:/limit}: 'soon' is no number of seconds" in outcome["reason"]
