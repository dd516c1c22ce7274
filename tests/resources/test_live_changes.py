"""What can change while the component runs changes the deployment only: no new version, so nothing is started anew."""

from __future__ import annotations

import dataclasses
import json

import pytest

from emflow.engine.resource import Action
from emflow.resources.iam import policy_documents
from resources.conftest import within

DEPLOYMENT = {"deployment/target": Action.UPDATE}


def actions(plan):
    return {step.resource.id: step.diff.action for step in plan.steps if step.diff.action is not Action.NONE}


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("edge.publish", {"threshold": 0.5, "on_change": True, "every": "10m", "qos": 0}),
        ("edge.capture", {"enabled": True, "every": "50 frames"}),
        ("edge.model_io", {"threshold": 0.25, "top_k": 1, "resize": "crop"}),
        ("edge.log", {"format": "json"}),
        ("edge.metrics", {"port": 9464}),
    ],
)
def test_a_setting_of_the_component_revises_the_deployment_only(rollout, workflow, part, changes):
    rollout.apply(workflow)
    changed = within(workflow, part, **changes)
    assert actions(rollout.plan(changed)) == DEPLOYMENT
    applied = rollout.apply(changed)
    assert applied.outputs["application/component"] == {"version": "1.0.0"}
    assert rollout.plan(changed).changes == ()


def test_another_pace_and_another_way_to_read_a_camera_revise_the_deployment_only(rollout, workflow, client):
    rollout.apply(workflow)
    (stream,) = workflow.edge.streams
    streams = (dataclasses.replace(stream, every="5 frames", read_timeout="10s", backend="opencv"),)
    changed = within(workflow, "edge", streams=streams)
    assert actions(rollout.plan(changed)) == DEPLOYMENT
    rollout.apply(changed)
    arn = client("iot").describe_thing(thingName=workflow.cloud.deployment.target.thing)["thingArn"]
    (latest,) = client("greengrassv2").list_deployments(targetArn=arn, historyFilter="LATEST_ONLY")["deployments"]
    made = client("greengrassv2").get_deployment(deploymentId=latest["deploymentId"])
    application = made["components"][workflow.edge.component.name]
    assert application["componentVersion"] == "1.0.0"
    told = json.loads(application["configurationUpdate"]["merge"])["streams"][0]
    assert (told["every"], told["readTimeout"], told["backend"]) == ("5 frames", "10s", "opencv")


def test_the_agents_own_settings_revise_the_deployment_only(rollout, workflow):
    rollout.apply(workflow)
    changed = within(workflow, "edge.agent.open", threads=2, memory_limit="512 MiB")
    assert actions(rollout.plan(changed)) == DEPLOYMENT


@pytest.mark.parametrize("publish", [{"topic": "em/{stream}"}, {"status_topic": "em/status"}])
def test_a_topic_that_was_not_granted_needs_a_new_version(rollout, workflow, publish):
    rollout.apply(workflow)
    changed = within(workflow, "edge.publish", **publish)
    assert actions(rollout.plan(changed)) == {"application/component": Action.UPDATE, **DEPLOYMENT}


def test_a_topic_that_is_granted_already_does_not(rollout, workflow):
    """The same topics said in another way: by a place for the thing's name, in place of the name itself."""
    thing = workflow.cloud.deployment.target.thing
    rollout.apply(within(workflow, "edge.publish", topic=f"em/{thing}"))
    changed = within(workflow, "edge.publish", topic="em/{thing}")
    assert actions(rollout.plan(changed)) == DEPLOYMENT


def test_only_an_agent_that_fetches_models_by_itself_may_ask_which(workflow):
    def asks(found):
        (statement,) = [
            each for each in policy_documents.least_privilege(found, "aws")["Statement"] if each["Sid"] == "EdgeAgent"
        ]
        return "sagemaker:GetDeployments" in statement["Action"]

    assert not asks(workflow)
    assert asks(within(workflow, "edge.agent", database=True, model_deployments=True))
