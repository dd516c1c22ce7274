"""Core devices: what they report is what the API says of them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from emflow_emulator.aws import EmbeddedAws
from emulator.aws.pieces import arn, signed

NUCLEUS = {"aws.greengrass.Nucleus": {"componentVersion": "2.12.6"}}


def report(**change: Any) -> dict[str, Any]:
    return {
        "coreVersion": "2.12.6",
        "platform": "linux",
        "architecture": "amd64",
        "status": "HEALTHY",
        "components": [],
        "deployment": None,
        **change,
    }


def component(name: str, state: str = "RUNNING", root: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "componentName": name,
        "componentVersion": "1.0.0",
        "lifecycleState": state,
        "lifecycleStateDetails": "",
        "isRoot": root,
        **more,
    }


@pytest.fixture
def send(aws: EmbeddedAws) -> Callable[..., int]:
    """Send a report as a core device does; gives the HTTP status."""

    def post(thing: str, document: Any) -> int:
        url = f"{aws.endpoint_url}/_emflow/cores/{thing.rpartition('/')[2]}"
        with urllib.request.urlopen(signed(url, document, aws.credentials)) as response:
            return int(response.status)

    return post


def test_a_core_is_as_it_reports(greengrass: Any, thing: str, send: Callable[..., int]) -> None:
    name = thing.rpartition("/")[2]
    assert send(name, report()) == 204
    core = greengrass.get_core_device(coreDeviceThingName=name)
    assert (core["coreVersion"], core["platform"], core["architecture"]) == ("2.12.6", "linux", "amd64")
    assert core["status"] == "HEALTHY"
    send(name, report(status="UNHEALTHY"))
    assert greengrass.get_core_device(coreDeviceThingName=name)["status"] == "UNHEALTHY"
    sick = greengrass.list_core_devices(status="UNHEALTHY")["coreDevices"]
    assert name in [each["coreDeviceThingName"] for each in sick]
    assert name not in [
        each["coreDeviceThingName"] for each in greengrass.list_core_devices(status="HEALTHY")["coreDevices"]
    ]


def test_a_thing_group_lists_the_cores_on_which_its_deployment_has_succeeded(
    greengrass: Any, iot: Any, thing: str, send: Callable[..., int], fresh: Callable[[str], str]
) -> None:
    name, group = thing.rpartition("/")[2], fresh("group")
    group_arn = iot.create_thing_group(thingGroupName=group)["thingGroupArn"]
    parent_arn = iot.create_thing_group(thingGroupName=fresh("group"))["thingGroupArn"]
    iot.add_thing_to_thing_group(thingGroupName=group, thingName=name)
    made = greengrass.create_deployment(targetArn=group_arn, components=NUCLEUS)["deploymentId"]

    def listed(target: str) -> list[str]:
        return [
            each["coreDeviceThingName"] for each in greengrass.list_core_devices(thingGroupArn=target)["coreDevices"]
        ]

    for state in ("IN_PROGRESS", "FAILED"):
        send(name, report(deployment={"deploymentId": made, "coreDeviceExecutionStatus": state}))
        assert listed(group_arn) == []
    send(name, report(deployment={"deploymentId": made, "coreDeviceExecutionStatus": "SUCCEEDED"}))
    assert listed(group_arn) == [name]
    iot.remove_thing_from_thing_group(thingGroupName=group, thingName=name)
    send(name, report(deployment={"deploymentId": made, "coreDeviceExecutionStatus": "FAILED"}))
    assert listed(group_arn) == [name]
    assert listed(parent_arn) == []


def test_installed_components_are_those_of_the_last_report(
    greengrass: Any, thing: str, send: Callable[..., int]
) -> None:
    name = thing.rpartition("/")[2]
    details = component("b", "ERRORED", root=False, lifecycleStateDetails="exit code 1")
    send(name, report(components=[component("a", "STARTING"), details]))
    (first,) = greengrass.list_installed_components(coreDeviceThingName=name)["installedComponents"]
    assert (first["componentName"], first["lifecycleState"]) == ("a", "STARTING")
    everything = greengrass.list_installed_components(coreDeviceThingName=name, topologyFilter="ALL")
    assert [each.get("lifecycleStateDetails") for each in everything["installedComponents"]] == [None, "exit code 1"]

    send(name, report(components=[component("a")]))
    (second,) = greengrass.list_installed_components(coreDeviceThingName=name, topologyFilter="ALL")[
        "installedComponents"
    ]
    assert second["lifecycleState"] == "RUNNING"
    assert second["lastStatusChangeTimestamp"] > first["lastStatusChangeTimestamp"]
    send(name, report(components=[component("a")]))
    (third,) = greengrass.list_installed_components(coreDeviceThingName=name)["installedComponents"]
    assert third["lastStatusChangeTimestamp"] == second["lastStatusChangeTimestamp"]
    assert third["lastReportedTimestamp"] > second["lastReportedTimestamp"]


@pytest.mark.parametrize(
    ("execution", "status"),
    [("IN_PROGRESS", "ACTIVE"), ("SUCCEEDED", "COMPLETED"), ("FAILED", "FAILED"), ("REJECTED", "FAILED")],
)
def test_a_deployment_to_a_thing_is_what_the_thing_says(
    greengrass: Any, thing: str, send: Callable[..., int], execution: str, status: str
) -> None:
    made = greengrass.create_deployment(targetArn=thing, components=NUCLEUS, deploymentName="D")["deploymentId"]
    progress = {"deploymentId": made, "coreDeviceExecutionStatus": execution, "reason": "because"}
    send(thing, report(deployment=progress))
    assert greengrass.get_deployment(deploymentId=made)["deploymentStatus"] == status
    (effective,) = greengrass.list_effective_deployments(coreDeviceThingName=thing.rpartition("/")[2])[
        "effectiveDeployments"
    ]
    assert effective["coreDeviceExecutionStatus"] == execution
    assert effective["reason"] == "because"
    assert effective["targetArn"] == thing


def test_a_failure_is_shown_with_its_errors(greengrass: Any, thing: str, send: Callable[..., int]) -> None:
    made = greengrass.create_deployment(targetArn=thing, components=NUCLEUS)["deploymentId"]
    stack, types = ["DEPLOYMENT_FAILURE", "ARTIFACT_CHECKSUM_MISMATCH"], ["DEPENDENCY_ERROR"]
    failed = {
        "deploymentId": made,
        "coreDeviceExecutionStatus": "FAILED",
        "reason": "the bytes changed",
        "errorStack": stack,
        "errorTypes": types,
    }
    send(thing, report(deployment=failed))
    (effective,) = greengrass.list_effective_deployments(coreDeviceThingName=thing.rpartition("/")[2])[
        "effectiveDeployments"
    ]
    assert effective["statusDetails"] == {"errorStack": stack, "errorTypes": types}


def test_a_deployment_to_a_group_stays_active(
    greengrass: Any, iot: Any, thing: str, send: Callable[..., int], fresh: Callable[[str], str]
) -> None:
    group = iot.create_thing_group(thingGroupName=fresh("group"))["thingGroupArn"]
    made = greengrass.create_deployment(targetArn=group, components=NUCLEUS)["deploymentId"]
    send(thing, report(deployment={"deploymentId": made, "coreDeviceExecutionStatus": "SUCCEEDED"}))
    assert greengrass.get_deployment(deploymentId=made)["deploymentStatus"] == "ACTIVE"


def test_an_old_deployment_that_reports_late_stays_inactive(
    greengrass: Any, thing: str, send: Callable[..., int]
) -> None:
    old = greengrass.create_deployment(targetArn=thing, components=NUCLEUS)["deploymentId"]
    greengrass.create_deployment(targetArn=thing, components=NUCLEUS)
    send(thing, report(deployment={"deploymentId": old, "coreDeviceExecutionStatus": "SUCCEEDED"}))
    assert greengrass.get_deployment(deploymentId=old)["deploymentStatus"] == "INACTIVE"


def test_installed_components_name_the_deployment_that_brought_them(
    greengrass: Any, thing: str, send: Callable[..., int]
) -> None:
    made = greengrass.create_deployment(targetArn=thing, components=NUCLEUS)["deploymentId"]
    progress = {"deploymentId": made, "coreDeviceExecutionStatus": "SUCCEEDED"}
    send(thing, report(deployment=progress, components=[component("aws.greengrass.Nucleus")]))
    (installed,) = greengrass.list_installed_components(coreDeviceThingName=thing.rpartition("/")[2])[
        "installedComponents"
    ]
    assert installed["lastInstallationSource"] == made


@pytest.mark.parametrize(
    ("change", "newer"),
    [
        ({}, False),
        ({"componentVersion": "2.0.0"}, True),
        ({"installationSource": "what the device says"}, True),
        ({"lifecycleState": "BROKEN"}, False),
    ],
)
def test_a_deployment_that_changed_nothing_is_no_source_of_a_component(
    greengrass: Any, thing: str, send: Callable[..., int], change: dict[str, Any], newer: bool
) -> None:
    name = thing.rpartition("/")[2]
    made = []
    for more in ({}, change):
        made.append(greengrass.create_deployment(targetArn=thing, components=NUCLEUS)["deploymentId"])
        progress = {"deploymentId": made[-1], "coreDeviceExecutionStatus": "SUCCEEDED"}
        send(thing, report(deployment=progress, components=[component("aws.greengrass.Nucleus", **more)]))
    (installed,) = greengrass.list_installed_components(coreDeviceThingName=name)["installedComponents"]
    assert installed["lastInstallationSource"] == (change.get("installationSource") or made[newer])


def test_a_broken_component_that_was_installed_again_has_a_new_source(
    greengrass: Any, thing: str, send: Callable[..., int]
) -> None:
    for state in ("BROKEN", "RUNNING"):
        made = greengrass.create_deployment(targetArn=thing, components=NUCLEUS)["deploymentId"]
        progress = {"deploymentId": made, "coreDeviceExecutionStatus": "SUCCEEDED"}
        send(thing, report(deployment=progress, components=[component("aws.greengrass.Nucleus", state)]))
    name = thing.rpartition("/")[2]
    (installed,) = greengrass.list_installed_components(coreDeviceThingName=name)["installedComponents"]
    assert installed["lastInstallationSource"] == made


def test_a_report_belongs_to_the_region_of_its_thing(
    client: Callable[..., Any], send: Callable[..., int], fresh: Callable[[str], str]
) -> None:
    name = fresh("elsewhere")
    client("iot", region="eu-west-1").create_thing(thingName=name)
    send(name, report())
    assert client("greengrassv2", region="eu-west-1").get_core_device(coreDeviceThingName=name)["status"] == "HEALTHY"
    home = client("greengrassv2")
    with pytest.raises(home.exceptions.ResourceNotFoundException):
        home.get_core_device(coreDeviceThingName=name)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "must be a JSON object"),
        (report(status="FINE"), "status must be one of HEALTHY, UNHEALTHY"),
        (report(coreVersion=2), "coreVersion must be a string"),
        (report(components=[component("a", "ASLEEP")]), "lifecycleState must be one of"),
        (
            report(deployment={"deploymentId": "none", "coreDeviceExecutionStatus": "FAILED"}),
            "deployment none does not exist",
        ),
    ],
)
def test_a_report_that_makes_no_sense_is_refused(
    thing: str, send: Callable[..., int], document: Any, words: str
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        send(thing, document)
    assert refused.value.code == 400
    assert words in json.load(refused.value)["message"]


def test_a_core_can_be_tagged_and_deleted(greengrass: Any, thing: str, send: Callable[..., int]) -> None:
    name = thing.rpartition("/")[2]
    send(name, report())
    greengrass.tag_resource(resourceArn=arn("greengrass", f"coreDevices:{name}"), tags={"a": "b"})
    assert greengrass.get_core_device(coreDeviceThingName=name)["tags"] == {"a": "b"}
    greengrass.delete_core_device(coreDeviceThingName=name)
    with pytest.raises(greengrass.exceptions.ResourceNotFoundException):
        greengrass.get_core_device(coreDeviceThingName=name)
    with pytest.raises(greengrass.exceptions.ResourceNotFoundException):
        greengrass.list_installed_components(coreDeviceThingName=name)
