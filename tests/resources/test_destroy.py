"""Destroy: what the workflow made goes, what it did not make stays, data goes only when told."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from emflow.engine.destroy import plan_removal, remove
from emflow.resources import build
from resources.conftest import within


def destroy(rollout, workflow, **how):
    clients = rollout.own(workflow)
    removal = plan_removal(build(workflow), clients, **how)
    remove(removal, clients)
    return [resource.id for resource in removal.going], {resource.id: why for resource, why in removal.staying}


def gone(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404)


def test_what_was_made_goes_in_reverse_order_and_the_buckets_stay(rollout, workflow, client):
    rollout.apply(workflow)
    going, staying = destroy(rollout, workflow)
    assert going.index("deployment/target") < going.index("model/package")
    assert going.index("fleet/devices") < going.index("fleet/fleet") < going.index("access/role")
    assert "--delete-data" in staying["bucket/components"]
    assert "--delete-data" in staying["bucket/inference_results"]
    cloud = workflow.cloud
    assert gone(client("iam").get_role, RoleName=cloud.role.name)
    assert gone(client("sagemaker").describe_device_fleet, DeviceFleetName=cloud.fleet.name)
    own = "arn:aws:greengrass:us-east-1:123456789012:components"
    for name in (cloud.package.component.name, workflow.edge.component.name):
        assert gone(client("greengrassv2").list_component_versions, arn=f"{own}:{name}")
    client("s3").head_bucket(Bucket=cloud.buckets.components.name)


def test_data_goes_when_told(rollout, workflow, client):
    rollout.apply(workflow)
    name = workflow.cloud.buckets.inference_results.name
    client("s3").put_object(Bucket=name, Key="sme-capture/fleet/model/2026/01/01/00/a.jsonl", Body=b"{}")
    going, _ = destroy(rollout, workflow, delete_data=True)
    assert {"bucket/components", "bucket/inference_results"} <= set(going)
    assert gone(client("s3").head_bucket, Bucket=name)


def test_devices_drop_our_components_and_keep_the_others(rollout, workflow, client):
    thing = workflow.cloud.deployment.target.thing
    target = f"arn:aws:iot:us-east-1:123456789012:thing/{thing}"
    greengrass = client("greengrassv2")
    greengrass.create_deployment(targetArn=target, components={"aws.greengrass.Cli": {"componentVersion": "2.12.6"}})
    rollout.apply(workflow)
    destroy(rollout, workflow)
    (latest,) = greengrass.list_deployments(targetArn=target, historyFilter="LATEST_ONLY")["deployments"]
    made = greengrass.get_deployment(deploymentId=latest["deploymentId"])
    assert set(made["components"]) == {"aws.greengrass.Cli"}
    _, staying = destroy(rollout, workflow)
    assert staying["deployment/target"] == "it was not made by this workflow"


def test_what_was_there_before_is_never_deleted(rollout, workflow, client):
    cloud = workflow.cloud
    bucket = cloud.buckets.components.name
    client("s3").create_bucket(Bucket=bucket)
    client("iam").create_role(
        RoleName=cloud.role.name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []})
    )
    rollout.apply(workflow, adopt={"bucket/components"})
    going, staying = destroy(rollout, workflow, delete_data=True)
    assert staying["bucket/components"] == "it was not made by this workflow"
    assert staying["access/role"] == "it was not made by this workflow"
    assert "access/permissions" in going  # the policy that we put on it
    client("s3").head_bucket(Bucket=bucket)
    assert client("iam").list_role_policies(RoleName=cloud.role.name)["PolicyNames"] == []


def test_another_workflow_takes_nothing_of_this_one(rollout, workflow, client):
    rollout.apply(workflow)
    going, _ = destroy(rollout, within(workflow, "metadata", name="another-workflow"))
    assert going == []
    client("iam").get_role(RoleName=workflow.cloud.role.name)


def test_the_second_time_there_is_nothing_to_remove(rollout, workflow):
    rollout.apply(workflow)
    destroy(rollout, workflow, delete_data=True)
    going, _ = destroy(rollout, workflow, delete_data=True)
    assert going == []


def test_after_destroy_the_same_workflow_can_be_applied_again(rollout, workflow):
    rollout.apply(workflow)
    destroy(rollout, workflow, delete_data=True)
    rollout.apply(workflow)
    assert rollout.plan(workflow).changes == ()
