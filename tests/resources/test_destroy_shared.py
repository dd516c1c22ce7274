"""Destroy where workflows, or other people, use the same things: what they need stays."""

from __future__ import annotations

import json
import time
from typing import Any

from emflow.resources import desired_resources
from emflow.workflow.model import Target
from resources.conftest import another, within
from resources.test_destroy import destroy, gone


def test_a_role_and_its_alias_stay_as_long_as_another_workflow_uses_them(rollout, workflow, client):
    rollout.apply(workflow)
    other = another(workflow)
    rollout.apply(other)
    cloud, iam = workflow.cloud, client("iam")
    going, staying = destroy(rollout, workflow)
    for kept in ("access/role", "access/role_alias"):
        assert kept not in going
        assert staying[kept].endswith(f"emflow-{other.metadata.name}@us-east-1")
    assert iam.list_role_policies(RoleName=cloud.role.name)["PolicyNames"] == [
        f"emflow-{other.metadata.name}@us-east-1"
    ]
    client("iot").describe_role_alias(roleAlias=cloud.role.alias)
    destroy(rollout, other)
    destroy(rollout, workflow)
    assert gone(iam.get_role, RoleName=cloud.role.name)
    assert gone(client("iot").describe_role_alias, roleAlias=cloud.role.alias)


def managed(client, role):
    listed = client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    return {each["PolicyName"] for each in listed}


def test_the_last_of_two_workflows_detaches_their_managed_policies(rollout, workflow, client):
    iam, role = client("iam"), workflow.cloud.role.name
    document = {"Version": "2012-10-17", "Statement": []}
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(document))
    theirs = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
    iam.attach_role_policy(RoleName=role, PolicyArn=theirs)
    first = within(workflow, "cloud.role", policies="workshop")
    second = another(first)
    rollout.apply(first)
    rollout.apply(second)
    both = managed(client, role)
    assert {"AWSGreengrassFullAccess", "AWSIoTLogging", "AmazonS3FullAccess"} < both
    rollout.apply(first)
    assert rollout.changing_calls == []
    going, _ = destroy(rollout, first)
    assert "access/permissions" in going
    assert managed(client, role) == both
    destroy(rollout, second)
    assert managed(client, role) == {"AmazonS3FullAccess"}
    assert iam.list_role_tags(RoleName=role)["Tags"] == []


def test_an_owned_role_stays_for_another_workflow_with_managed_policies(rollout, workflow, client):
    rollout.apply(workflow)
    other = another(workflow)
    rollout.apply(within(other, "cloud.role", policies="workshop"))
    rollout.apply(workflow)
    assert rollout.changing_calls == []  # what the other one noted is not too wide for us to leave
    _, staying = destroy(rollout, workflow)
    assert staying["access/role"].endswith(f"emflow-{other.metadata.name}@us-east-1")
    assert "AWSGreengrassFullAccess" in managed(client, workflow.cloud.role.name)


def test_a_fleet_that_another_workflow_uses_keeps_its_devices_when_its_maker_goes(rollout, workflow, client):
    rollout.apply(workflow)
    thing = f"second-{workflow.metadata.name}"
    client("iot").create_thing(thingName=thing)
    other = another(workflow)
    other = within(other, "cloud.fleet", devices=(thing,))
    other = within(other, "cloud.deployment", target=Target(thing=thing))
    rollout.apply(other)
    fleet, sagemaker = workflow.cloud.fleet.name, client("sagemaker")
    going, staying = destroy(rollout, workflow, delete_data=True)
    assert "fleet/devices" in going
    # Both have the same model and application: what the other one still deploys stays, with the bucket that it is in.
    assert staying["application/component"] == staying["model/package"] == f"{other.metadata.name} deploys it too"
    assert staying["bucket/components"].startswith(f"others may use it: inline policy emflow-{other.metadata.name}@")
    assert staying["fleet/fleet"].startswith(f"others registered devices in it: {thing}; ")
    assert [each["DeviceName"] for each in sagemaker.list_devices(DeviceFleetName=fleet)["DeviceSummaries"]] == [thing]
    rollout.apply(other)
    assert rollout.changing_calls == []
    going, staying = destroy(rollout, other)
    assert staying["fleet/fleet"] == "it was not made by this workflow"
    assert sagemaker.list_devices(DeviceFleetName=fleet)["DeviceSummaries"] == []
    going, _ = destroy(rollout, workflow)
    assert {"fleet/fleet", "access/role", "application/component", "model/package"} <= set(going)


def test_in_a_foreign_bucket_only_objects_of_this_workflow_are_deleted(rollout, workflow, client):
    s3, bucket = client("s3"), workflow.cloud.buckets.components.name
    s3.create_bucket(Bucket=bucket)
    model: Any = next(each for each in desired_resources(workflow) if each.id == "model/artifact")
    s3.put_object(Bucket=bucket, Key=model.key, Body=model.data, ChecksumAlgorithm="SHA256")
    rollout.apply(workflow, adopt={"bucket/components"})
    going, staying = destroy(rollout, workflow, delete_data=True)
    assert staying["bucket/components"] == "it was not made by this workflow"
    assert "bucket/objects" in going
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert model.key in {each["Key"] for each in listed}
    assert not any(each["Key"].startswith("artifacts/") for each in listed)


def test_of_two_workflows_on_a_device_one_goes_and_the_other_can_still_change(rollout, workflow, client):
    greengrass, first = client("greengrassv2"), workflow.edge.component.name
    rollout.apply(workflow)
    second = another(workflow)
    second = within(second, "edge.component", name=f"{first}-too")
    target = rollout.apply(second).outputs["deployment/target"]["id"]
    assert {first, f"{first}-too"} <= greengrass.get_deployment(deploymentId=target)["components"].keys()
    going, _ = destroy(rollout, workflow)
    assert "deployment/target" in going
    target = greengrass.get_deployment(deploymentId=target)["targetArn"]
    (latest,) = greengrass.list_deployments(targetArn=target, historyFilter="LATEST_ONLY")["deployments"]
    left = greengrass.get_deployment(deploymentId=latest["deploymentId"])["components"]
    assert first not in left
    assert f"{first}-too" in left
    rollout.apply(within(second, "cloud.deployment", name="changed"))


def test_a_foreign_component_without_its_version_is_left_out_of_a_revision(rollout, workflow, client):
    greengrass = client("greengrassv2")
    name = f"theirs-{workflow.metadata.name}"
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": "1.0.0",
        "Manifests": [{"Lifecycle": {"run": "true"}}],
    }
    arn = greengrass.create_component_version(inlineRecipe=json.dumps(recipe).encode())["arn"]
    deadline = time.monotonic() + 20
    while greengrass.describe_component(arn=arn)["status"]["componentState"] != "DEPLOYABLE":
        assert time.monotonic() < deadline
    target = f"arn:aws:iot:us-east-1:123456789012:thing/{workflow.cloud.deployment.target.thing}"
    greengrass.create_deployment(targetArn=target, components={name: {"componentVersion": "1.0.0"}})
    assert f"keeps {name} 1.0.0" in rollout.plan(workflow).text()
    greengrass.delete_component(arn=arn)
    assert f"leaves out {name} 1.0.0" in rollout.plan(workflow).text()
    identity = rollout.apply(workflow).outputs["deployment/target"]["id"]
    assert name not in greengrass.get_deployment(deploymentId=identity)["components"]
