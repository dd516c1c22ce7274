"""Deployments: what they refuse, what they remember, and how one replaces another."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from emflow_emulator.aws import EmbeddedAws
from emulator.aws.pieces import arn, recipe, signed

NUCLEUS = {"aws.greengrass.Nucleus": {"componentVersion": "2.12.6"}}


def test_what_is_asked_is_what_is_kept_and_the_rest_is_aws_defaults(greengrass: Any, thing: str) -> None:
    components = {
        "aws.greengrass.Nucleus": {
            "componentVersion": "2.12.6",
            "configurationUpdate": {"merge": '{"logging": {"level": "DEBUG"}}', "reset": ["", "/jvmOptions"]},
            "runWith": {"posixUser": "ggc", "systemResourceLimits": {"memory": 1000, "cpus": 0.5}},
        }
    }
    made = greengrass.create_deployment(targetArn=thing, deploymentName="First", components=components, tags={"a": "b"})
    kept = greengrass.get_deployment(deploymentId=made["deploymentId"])
    assert kept["components"] == components
    assert kept["deploymentName"] == "First"
    assert kept["deploymentStatus"] == "ACTIVE"
    assert kept["isLatestForTarget"] is True
    assert kept["revisionId"] == "1"
    assert kept["tags"] == {"a": "b"}
    assert kept["deploymentPolicies"] == {
        "failureHandlingPolicy": "ROLLBACK",
        "componentUpdatePolicy": {"timeoutInSeconds": 60, "action": "NOTIFY_COMPONENTS"},
        "configurationValidationPolicy": {"timeoutInSeconds": 30},
    }


def test_policies_and_rollout_are_kept_beside_the_defaults(
    greengrass: Any, iot: Any, fresh: Callable[[str], str]
) -> None:
    group = iot.create_thing_group(thingGroupName=fresh("group"))["thingGroupArn"]
    job = {
        "abortConfig": {
            "criteriaList": [
                {
                    "failureType": "FAILED",
                    "action": "CANCEL",
                    "thresholdPercentage": 10.0,
                    "minNumberOfExecutedThings": 5,
                }
            ]
        },
        "timeoutConfig": {"inProgressTimeoutInMinutes": 60},
    }
    made = greengrass.create_deployment(
        targetArn=group,
        components=NUCLEUS,
        iotJobConfiguration=job,
        deploymentPolicies={
            "failureHandlingPolicy": "DO_NOTHING",
            "componentUpdatePolicy": {"action": "SKIP_NOTIFY_COMPONENTS"},
        },
    )
    kept = greengrass.get_deployment(deploymentId=made["deploymentId"])
    assert kept["iotJobConfiguration"] == job
    assert kept["deploymentPolicies"]["failureHandlingPolicy"] == "DO_NOTHING"
    assert kept["deploymentPolicies"]["componentUpdatePolicy"] == {
        "timeoutInSeconds": 60,
        "action": "SKIP_NOTIFY_COMPONENTS",
    }
    assert made["iotJobArn"] == arn("iot", f"job/{made['iotJobId']}")


def test_a_new_deployment_replaces_the_one_before(greengrass: Any, thing: str) -> None:
    first = greengrass.create_deployment(targetArn=thing, components=NUCLEUS)["deploymentId"]
    second = greengrass.create_deployment(targetArn=thing, components=NUCLEUS)["deploymentId"]
    old, new = (greengrass.get_deployment(deploymentId=each) for each in (first, second))
    assert (old["deploymentStatus"], old["isLatestForTarget"], old["revisionId"]) == ("INACTIVE", False, "1")
    assert (new["deploymentStatus"], new["isLatestForTarget"], new["revisionId"]) == ("ACTIVE", True, "2")
    latest = greengrass.list_deployments(targetArn=thing)["deployments"]
    assert [each["deploymentId"] for each in latest] == [second]
    pages = greengrass.get_paginator("list_deployments").paginate(
        targetArn=thing, historyFilter="ALL", PaginationConfig={"PageSize": 1}
    )
    assert [each["deploymentId"] for page in pages for each in page["deployments"]] == [second, first]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"componentVersion": "0.0.1"}, "there is no version 0.0.1 of this component"),
        (
            {"componentVersion": "2.12.6", "configurationUpdate": {"merge": "{a: 1}"}},
            "configurationUpdate.merge is not JSON",
        ),
        (
            {"componentVersion": "2.12.6", "configurationUpdate": {"merge": "[]"}},
            "configurationUpdate.merge is not a JSON object",
        ),
        ({"componentVersion": "2.12.6", "configurationUpdate": {"reset": ["key"]}}, "not a JSON pointer"),
    ],
)
def test_a_component_that_cannot_be_deployed_is_refused(
    greengrass: Any, thing: str, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(greengrass.exceptions.ValidationException, match=words) as refused:
        greengrass.create_deployment(targetArn=thing, components={"aws.greengrass.Nucleus": asked})
    assert refused.value.response["fields"][0]["name"] == "aws.greengrass.Nucleus"
    assert greengrass.list_deployments(targetArn=thing)["deployments"] == []


def test_a_component_is_deployed_only_once_it_is_deployable(
    greengrass: Any, thing: str, fresh: Callable[[str], str]
) -> None:
    import json

    name = fresh("com.example.Early")
    greengrass.create_component_version(inlineRecipe=json.dumps(recipe(name)).encode())
    with pytest.raises(ClientError, match="not DEPLOYABLE yet"):
        greengrass.create_deployment(targetArn=thing, components={name: {"componentVersion": "1.0.0"}})


def test_the_target_has_to_exist_in_this_account_and_region(greengrass: Any) -> None:
    with pytest.raises(greengrass.exceptions.ResourceNotFoundException, match="does not exist"):
        greengrass.create_deployment(targetArn=arn("iot", "thing/nobody"), components=NUCLEUS)
    with pytest.raises(greengrass.exceptions.ResourceNotFoundException, match="does not exist"):
        greengrass.create_deployment(targetArn=arn("iot", "thinggroup/nobody"), components=NUCLEUS)
    with pytest.raises(greengrass.exceptions.ValidationException, match="is not in us-east-1, account 123456789012"):
        greengrass.create_deployment(targetArn="arn:aws:iot:eu-west-1:123456789012:thing/x", components=NUCLEUS)


def test_the_same_request_under_the_same_token_is_one_deployment(
    greengrass: Any, thing: str, fresh: Callable[[str], str]
) -> None:
    token = fresh("token")
    ids = {
        greengrass.create_deployment(targetArn=thing, components=NUCLEUS, clientToken=token)["deploymentId"]
        for _ in range(2)
    }
    assert len(ids) == 1


def test_an_active_deployment_is_canceled_before_it_is_deleted(greengrass: Any, thing: str) -> None:
    made = greengrass.create_deployment(targetArn=thing, components=NUCLEUS)["deploymentId"]
    with pytest.raises(greengrass.exceptions.ConflictException, match="cancel it"):
        greengrass.delete_deployment(deploymentId=made)
    greengrass.cancel_deployment(deploymentId=made)
    assert greengrass.get_deployment(deploymentId=made)["deploymentStatus"] == "CANCELED"
    with pytest.raises(greengrass.exceptions.ConflictException, match="is CANCELED"):
        greengrass.cancel_deployment(deploymentId=made)
    greengrass.delete_deployment(deploymentId=made)
    with pytest.raises(greengrass.exceptions.ResourceNotFoundException):
        greengrass.get_deployment(deploymentId=made)
    again = greengrass.create_deployment(targetArn=thing, components=NUCLEUS)["deploymentId"]
    assert greengrass.get_deployment(deploymentId=again)["revisionId"] == "2"


def test_deployments_have_tags(greengrass: Any, thing: str) -> None:
    made = greengrass.create_deployment(targetArn=thing, components=NUCLEUS)["deploymentId"]
    resource = arn("greengrass", f"deployments:{made}")
    greengrass.tag_resource(resourceArn=resource, tags={"emflow:workflow": "demo"})
    assert greengrass.get_deployment(deploymentId=made)["tags"] == {"emflow:workflow": "demo"}


def test_the_job_of_a_groups_deployment_counts_its_devices(
    greengrass: Any, iot: Any, aws: EmbeddedAws, fresh: Callable[[str], str]
) -> None:
    group, things = fresh("group"), [fresh("core") for _ in range(4)]
    target = iot.create_thing_group(thingGroupName=group)["thingGroupArn"]
    for name in things:
        iot.create_thing(thingName=name)
        iot.add_thing_to_thing_group(thingGroupName=group, thingName=name)
    made = greengrass.create_deployment(targetArn=target, components={})
    for name, state in zip(things, ("SUCCEEDED", "FAILED", "IN_PROGRESS"), strict=False):
        deployment = {"deploymentId": made["deploymentId"], "coreDeviceExecutionStatus": state}
        said = {"coreVersion": "2.12.6", "platform": "linux", "architecture": "amd64", "status": "HEALTHY"}
        url = f"{aws.endpoint_url}/_emflow/cores/{name}"
        urllib.request.urlopen(signed(url, said | {"deployment": deployment}, aws.credentials)).close()
    job = iot.describe_job(jobId=made["iotJobId"])["job"]
    assert (job["jobId"], job["status"], job["targets"]) == (made["iotJobId"], "IN_PROGRESS", [target])
    counted = {name: number for name, number in job["jobProcessDetails"].items() if number}
    assert counted == dict.fromkeys(
        [f"numberOf{state}Things" for state in ("Succeeded", "Failed", "InProgress", "Queued")], 1
    )
    failed = iot.list_job_executions_for_job(jobId=made["iotJobId"], status="FAILED")["executionSummaries"]
    assert [each["thingArn"] for each in failed] == [arn("iot", f"thing/{things[1]}")]
    greengrass.cancel_deployment(deploymentId=made["deploymentId"])
    assert iot.describe_job(jobId=made["iotJobId"])["job"]["status"] == "CANCELED"


def test_jobs_that_are_not_of_a_deployment_are_answered_as_before(
    iot: Any, thing: str, fresh: Callable[[str], str]
) -> None:
    job = iot.create_job(jobId=fresh("job"), targets=[thing], document="{}")["jobId"]
    assert iot.describe_job(jobId=job)["job"]["targets"] == [thing]
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_job(jobId="nothing")
