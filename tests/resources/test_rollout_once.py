"""The whole of a workflow: made once, found again, mended, and not made twice."""

from __future__ import annotations

import json
import tarfile

import pytest

from emflow.engine.resource import Action
from emflow.problems import Problem
from resources.conftest import within


def actions(plan):
    return {step.resource.id: step.diff.action for step in plan.steps if step.diff.action is not Action.NONE}


def test_the_first_apply_makes_everything_and_the_second_makes_no_changing_call(rollout, workflow):
    first = rollout.apply(workflow)
    assert set(first.actions.values()) == {Action.CREATE}
    assert len(first.actions) == 13

    second = rollout.apply(workflow)
    assert second.summary() == "0 changes: everything is as the workflow says."
    assert rollout.changing_calls == []
    assert rollout.calls  # it did look


def test_a_plan_changes_nothing(rollout, workflow):
    plan = rollout.plan(workflow)
    assert plan.summary() == "Plan: 13 to create, 0 to change, 0 to replace, 0 unchanged"
    assert rollout.changing_calls == []


def test_what_the_workshop_makes_by_hand_is_there(rollout, workflow, client):
    rollout.apply(workflow)
    cloud = workflow.cloud
    fleet = client("sagemaker").describe_device_fleet(DeviceFleetName=cloud.fleet.name)
    assert fleet["OutputConfig"]["S3OutputLocation"] == f"s3://{cloud.buckets.inference_results.name}"
    alias = client("iot").describe_role_alias(roleAlias=cloud.role.alias)["roleAliasDescription"]
    assert alias["roleArn"] == fleet["RoleArn"]
    job = client("sagemaker").describe_compilation_job(CompilationJobName=cloud.compile.job)
    assert json.loads(job["InputConfig"]["DataInputConfig"]) == {"input": [1, 224, 224, 3]}
    assert job["OutputConfig"]["TargetDevice"] == "imx8mplus"
    packaging = client("sagemaker").describe_edge_packaging_job(EdgePackagingJobName=cloud.package.job)
    assert packaging["EdgePackagingJobStatus"] == "COMPLETED"
    assert packaging["PresetDeploymentOutput"]["Status"] == "COMPLETED"
    listed = client("sagemaker").list_devices(DeviceFleetName=cloud.fleet.name)["DeviceSummaries"]
    assert [(device["DeviceName"], device["IotThingName"]) for device in listed] == [(cloud.fleet.devices[0],) * 2]


def test_the_deployment_has_the_components_and_the_workshops_settings(rollout, workflow, client):
    identity = rollout.apply(workflow).outputs["deployment/target"]["id"]
    made = client("greengrassv2").get_deployment(deploymentId=identity)
    assert set(made["components"]) == {
        "aws.greengrass.Nucleus",
        "aws.greengrass.TokenExchangeService",
        "aws.greengrass.SageMakerEdgeManager",
        workflow.cloud.package.component.name,
        workflow.edge.component.name,
    }
    settings = json.loads(made["components"]["aws.greengrass.SageMakerEdgeManager"]["configurationUpdate"]["merge"])
    assert settings["DeviceFleetName"] == workflow.cloud.fleet.name
    assert len(settings) == 12
    application = made["components"][workflow.edge.component.name]
    assert application["componentVersion"] == "1.0.0"
    assert json.loads(application["configurationUpdate"]["merge"])["streams"][0]["url"].startswith("rtspt://")


def test_another_camera_changes_the_deployment_and_nothing_else(rollout, workflow):
    rollout.apply(workflow)
    (stream,) = workflow.edge.streams
    changed = within(workflow, "edge", streams=(type(stream)(name="front", url="rtspt://u:secret@10.0.0.9/2"),))
    plan = rollout.plan(changed)
    assert actions(plan) == {"deployment/target": Action.UPDATE}
    assert "10.0.0.9" in plan.text()
    assert "secret" not in plan.text()
    rollout.apply(changed)
    assert rollout.plan(changed).changes == ()


def test_a_changed_topic_makes_the_next_patch_of_the_application(rollout, workflow):
    rollout.apply(workflow)
    changed = within(workflow, "edge.publish", topic="em/other")
    assert actions(rollout.plan(changed)) == {
        "application/component": Action.UPDATE,
        "deployment/target": Action.UPDATE,
    }
    assert rollout.apply(changed).outputs["application/component"] == {"version": "1.0.1"}
    assert rollout.plan(changed).changes == ()


def test_going_back_to_earlier_content_takes_its_version_again(rollout, workflow):
    rollout.apply(workflow)
    rollout.apply(within(workflow, "edge.publish", topic="em/other"))
    assert actions(rollout.plan(workflow)) == {"deployment/target": Action.UPDATE}
    assert rollout.apply(workflow).outputs["application/component"] == {"version": "1.0.0"}


def test_an_explicit_version_whose_content_changed_is_refused_with_the_way_out(rollout, workflow):
    fixed = within(workflow, "edge.component", version="1.0.0")
    rollout.apply(fixed)
    assert rollout.plan(fixed).changes == ()
    with pytest.raises(Problem, match="exists already, with other content") as refused:
        rollout.plan(within(fixed, "edge.publish", topic="em/other"))
    assert "1.0.1" in refused.value.mend
    assert "auto" in refused.value.mend


def test_a_changed_model_makes_new_jobs_and_needs_a_new_component_version(rollout, workflow, file):
    rollout.apply(workflow)
    model = file.parent / "scenes.tflite"
    model.write_bytes(model.read_bytes() + bytes(16))  # a FlatBuffer may have anything after it
    with pytest.raises(Problem, match="exists already, made of another model") as refused:
        rollout.plan(workflow)
    assert "cloud.package.component.version" in refused.value.mend

    raised = within(workflow, "cloud.package.component", version="1.1.0")
    plan = rollout.plan(raised)
    assert actions(plan) == {
        "model/artifact": Action.CREATE,
        "model/compilation": Action.REPLACE,
        "model/package": Action.REPLACE,
        "application/component": Action.UPDATE,
        "deployment/target": Action.UPDATE,
    }
    outputs = rollout.apply(raised).outputs
    assert outputs["model/compilation"]["job"].startswith(f"{workflow.cloud.compile.job}-")
    assert outputs["model/package"]["job"].startswith(f"{workflow.cloud.package.job}-")
    assert rollout.plan(raised).changes == ()


def test_another_role_policy_is_put_beside_and_found_again(rollout, workflow, client):
    rollout.apply(workflow)
    generous = within(workflow, "cloud.role", policies="workshop")
    assert actions(rollout.plan(generous)) == {"access/permissions": Action.UPDATE}
    rollout.apply(generous)
    iam, role = client("iam"), workflow.cloud.role.name
    attached = {each["PolicyName"] for each in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]}
    assert {"AmazonSageMakerEdgeDeviceFleetPolicy", "AmazonS3FullAccess"} <= attached
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == []
    assert rollout.plan(generous).changes == ()


def test_a_workflow_without_its_core_device_says_so_before_and_after(rollout, workflow, client):
    client("iot").delete_thing(thingName=workflow.cloud.deployment.target.thing)
    assert "IoT knows no thing/core-" in rollout.plan(workflow).text()
    with pytest.raises(Problem, match="IoT knows no thing/core-") as refused:
        rollout.apply(workflow)
    assert "Set up the core device" in refused.value.mend


def test_the_workshops_model_goes_all_the_way_in_the_workshops_archive(
    rollout, workflow, file, shared_data, client, report
):
    name = "mobilenet_v2_1.0_224_quant"
    with tarfile.open(file.parent / f"{name}.tgz", "w:gz") as archive:
        archive.add(shared_data / "models" / f"{name}.tflite", f"{name}.tflite")
    mobilenet = within(workflow, "cloud.model", artifact=f"{name}.tgz", name="mobilenetv2-224-10-quant")
    applied = rollout.apply(mobilenet)
    source = client("sagemaker").describe_compilation_job(CompilationJobName=workflow.cloud.compile.job)
    assert source["InputConfig"]["S3Uri"].endswith(f"/{name}.tgz")
    identity = applied.outputs["deployment/target"]["id"]
    report(workflow.cloud.deployment.target.thing, identity, "SUCCEEDED")
    assert client("greengrassv2").get_deployment(deploymentId=identity)["deploymentStatus"] == "COMPLETED"
    assert rollout.apply(mobilenet).summary() == "0 changes: everything is as the workflow says."
    assert rollout.changing_calls == []
