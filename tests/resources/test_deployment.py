"""Deployments: revised, never trampled on, and followed until the devices have spoken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from emflow.engine.apply import apply_plan
from emflow.engine.events import Done, Failed, Waiting
from emflow.engine.plan import make_plan
from emflow.engine.resource import Action, Inputs
from emflow.problems import Problem
from emflow.recipes.components import application_component
from emflow.resources import desired_resources, wait_for_deployment
from emflow.resources.greengrass.component_queries import next_patch
from emflow.resources.greengrass.component_version import ComponentVersion
from emflow.resources.greengrass.deployment_records import latest_deployment
from emflow.resources.ownership import Ownership
from emflow.versions import sort_key
from emflow.workflow.model import Abort, Growth, Rollout, Target, Update
from emflow_schema.units import Duration
from resources.conftest import within

DEPLOYMENT = "deployment/target"


def step(plan, resource=DEPLOYMENT):
    return next(step for step in plan.steps if step.resource.id == resource)


@pytest.fixture
def greengrass(client):
    return client("greengrassv2")


@pytest.fixture
def target(workflow):
    return f"arn:aws:iot:us-east-1:123456789012:thing/{workflow.cloud.deployment.target.thing}"


@pytest.fixture
def deployed(rollout, workflow):
    """The id of the workflow's deployment."""
    return rollout.apply(workflow).outputs[DEPLOYMENT]["id"]


@pytest.fixture
def thing(workflow):
    return workflow.cloud.deployment.target.thing


def test_components_that_are_not_ours_stay_with_their_configuration(rollout, workflow, greengrass, target):
    theirs = {"componentVersion": "2.12.6", "configurationUpdate": {"merge": '{"a": 1}'}}
    greengrass.create_deployment(
        targetArn=target,
        deploymentName="theirs",
        components={"aws.greengrass.Cli": theirs},
        deploymentPolicies={"failureHandlingPolicy": "DO_NOTHING"},
    )
    plan = rollout.plan(workflow)
    assert step(plan).diff.action is Action.UPDATE
    assert "keeps aws.greengrass.Cli 2.12.6, which is not in this workflow" in plan.text()
    assert "name: theirs → Deployment for ML using EM" in plan.text()
    assert "policies.failureHandlingPolicy: DO_NOTHING → ROLLBACK" in plan.text()
    identity = rollout.apply(workflow).outputs[DEPLOYMENT]["id"]
    made = greengrass.get_deployment(deploymentId=identity)
    assert made["components"]["aws.greengrass.Cli"] == theirs
    assert made["deploymentPolicies"]["failureHandlingPolicy"] == "ROLLBACK"
    assert rollout.plan(workflow).changes == ()


def test_a_component_that_the_workflow_drops_leaves_the_devices_and_others_stay(
    rollout, workflow, greengrass, target, deployed
):
    public = workflow.cloud.deployment.components
    cli = "aws.greengrass.Cli"
    more = within(workflow, "cloud.deployment", components={**public, cli: "latest"})
    rollout.apply(more)
    theirs = {"componentVersion": "2.12.6"}
    latest = latest_deployment(rollout.own(workflow), target)
    assert latest
    found = greengrass.get_deployment(deploymentId=latest["deploymentId"])
    # Somebody revises it on a path that loses our tags, and adds a component of their own making.
    greengrass.create_deployment(
        targetArn=target, deploymentName=found["deploymentName"], components={**found["components"]}
    )
    plan = rollout.plan(workflow)
    version = found["components"][cli]["componentVersion"]
    assert f"removes {cli} {version} from the devices" in plan.text()
    assert f"{cli}: {version} → (none)" in plan.text()
    identity = rollout.apply(workflow).outputs[DEPLOYMENT]["id"]
    assert cli not in greengrass.get_deployment(deploymentId=identity)["components"]
    assert rollout.plan(workflow).changes == ()

    made = greengrass.get_deployment(deploymentId=identity)
    greengrass.create_deployment(
        targetArn=target, deploymentName=made["deploymentName"], components={**made["components"], cli: theirs}
    )
    assert f"keeps {cli} 2.12.6, which is not in this workflow" in rollout.plan(workflow).text()
    assert rollout.plan(workflow).changes == ()


def test_how_one_of_awss_components_is_configured_stays_as_it_is(rollout, workflow, greengrass, target):
    nucleus = {"componentVersion": "2.12.6", "configurationUpdate": {"merge": '{"mqtt": {"port": 443}}'}}
    greengrass.create_deployment(targetArn=target, components={"aws.greengrass.Nucleus": nucleus})
    identity = rollout.apply(workflow).outputs[DEPLOYMENT]["id"]
    assert greengrass.get_deployment(deploymentId=identity)["components"]["aws.greengrass.Nucleus"] == nucleus


def test_a_deployment_to_a_group_spreads_as_the_workflow_says(rollout, workflow, client, greengrass):
    group = f"group-{workflow.metadata.name}"
    client("iot").create_thing_group(thingGroupName=group)
    growth = Growth(start_per_minute=5, factor=1.5, after_succeeded=20)
    spread = Rollout(
        max_per_minute=50, growth=growth, abort=(Abort(when="failed", percent=20, after=10),), timeout=Duration("30m")
    )
    grouped = within(
        workflow,
        "cloud.deployment",
        target=Target(thing_group=group),
        rollout=spread,
        on_failure="nothing",
        update=Update(notify=False, timeout=Duration("2m")),
        validation_timeout="45s",
    )
    identity = rollout.apply(grouped).outputs[DEPLOYMENT]["id"]
    made = greengrass.get_deployment(deploymentId=identity)
    assert made["iotJobConfiguration"] == {
        "jobExecutionsRolloutConfig": {
            "exponentialRate": {
                "baseRatePerMinute": 5,
                "incrementFactor": 1.5,
                "rateIncreaseCriteria": {"numberOfSucceededThings": 20},
            },
            "maximumPerMinute": 50,
        },
        "abortConfig": {
            "criteriaList": [
                {
                    "failureType": "FAILED",
                    "action": "CANCEL",
                    "thresholdPercentage": 20.0,
                    "minNumberOfExecutedThings": 10,
                }
            ]
        },
        "timeoutConfig": {"inProgressTimeoutInMinutes": 30},
    }
    assert made["deploymentPolicies"] == {
        "failureHandlingPolicy": "DO_NOTHING",
        "componentUpdatePolicy": {"timeoutInSeconds": 120, "action": "SKIP_NOTIFY_COMPONENTS"},
        "configurationValidationPolicy": {"timeoutInSeconds": 45},
    }
    assert rollout.plan(grouped).changes == ()
    # What leaves the workflow goes back to AWS's default.
    plain = within(workflow, "cloud.deployment", target=Target(thing_group=group))
    text = rollout.plan(plain).text()
    assert "rollout.jobExecutionsRolloutConfig.maximumPerMinute: 50 → 1000" in text
    assert "policies.componentUpdatePolicy.timeoutInSeconds: 120 → 60" in text
    rollout.apply(plain)
    assert rollout.plan(plain).changes == ()


def test_a_deployment_whose_answer_was_lost_is_found(rollout, workflow, greengrass, target):
    clients = rollout.clients(workflow)

    def lose(**_):
        raise ReadTimeoutError(endpoint_url="https://aws.example")

    clients("greengrassv2").meta.events.register("after-call.greengrassv2.CreateDeployment", lose)
    apply_plan(make_plan(desired_resources(workflow), clients), clients)
    assert len(greengrass.list_deployments(targetArn=target, historyFilter="ALL")["deployments"]) == 1
    assert rollout.plan(workflow).changes == ()


def test_latest_takes_the_newest_at_first_and_keeps_what_is_deployed_afterwards(
    rollout, workflow, greengrass, target, deployed
):
    made = greengrass.get_deployment(deploymentId=deployed)["components"]
    listed = greengrass.list_components(scope="PUBLIC")["components"]
    newest = {each["componentName"]: each["latestVersion"]["componentVersion"] for each in listed}
    nucleus = "aws.greengrass.Nucleus"
    assert made[nucleus]["componentVersion"] == newest[nucleus]

    arn = f"arn:aws:greengrass:us-east-1:aws:components:{nucleus}"
    versions = greengrass.list_component_versions(arn=arn)["componentVersions"]
    older = [each["componentVersion"] for each in versions if each["componentVersion"] != newest[nucleus]]
    if not older:
        pytest.skip("the embedded AWS offers one version of the nucleus only")
    greengrass.create_deployment(
        targetArn=target,
        deploymentName=workflow.cloud.deployment.name,
        components={**made, nucleus: {"componentVersion": older[0]}},
    )
    assert rollout.plan(workflow).changes == ()


def test_the_same_configuration_written_differently_is_no_difference(rollout, workflow, greengrass, target, deployed):
    made = greengrass.get_deployment(deploymentId=deployed)["components"]
    update = made[workflow.edge.component.name]["configurationUpdate"]
    update["merge"] = json.dumps(dict(reversed(json.loads(update["merge"]).items())), indent=4)
    greengrass.create_deployment(targetArn=target, deploymentName=workflow.cloud.deployment.name, components=made)
    assert rollout.plan(workflow).changes == ()


def test_a_cancelled_deployment_is_made_again(rollout, workflow, greengrass, deployed):
    greengrass.cancel_deployment(deploymentId=deployed)
    plan = rollout.plan(workflow)
    assert [change.field for change in step(plan).diff.changes] == ["status"]
    assert rollout.apply(workflow).outputs[DEPLOYMENT]["id"] != deployed


def test_a_component_that_aws_does_not_offer_is_named(rollout, workflow):
    asked = within(workflow, "cloud.deployment", components={"aws.greengrass.Nothing": "latest"})
    with pytest.raises(Problem, match="no public component"):
        rollout.plan(asked)


def test_waiting_ends_when_the_device_has_succeeded(rollout, workflow, deployed, thing, report):
    events = []

    def device(event):
        """Reports IN_PROGRESS when it is first waited for, and then that it is done."""
        events.append(event)
        if isinstance(event, Waiting):
            report(thing, deployed, "IN_PROGRESS" if event.state != "IN_PROGRESS" else "SUCCEEDED")

    wait_for_deployment(workflow, rollout.own(workflow), device, timeout=20)
    assert [event.state for event in events if isinstance(event, Waiting)] == ["not reported yet", "IN_PROGRESS"]
    assert isinstance(events[-1], Done)


def test_a_device_that_failed_is_named_with_its_reason_and_error_stack(rollout, workflow, deployed, thing, report):
    reason = "the artifact's digest is wrong"
    report(thing, deployed, "FAILED", reason=reason, errorStack=["DEPLOYMENT_FAILURE", "ARTIFACT_CHECKSUM_MISMATCH"])
    events: list[Any] = []
    with pytest.raises(Problem) as failed:
        wait_for_deployment(workflow, rollout.own(workflow), events.append, timeout=20)
    assert f"{thing}: the deployment FAILED: {reason}" in failed.value.what
    assert "DEPLOYMENT_FAILURE > ARTIFACT_CHECKSUM_MISMATCH" in failed.value.what
    assert isinstance(events[-1], Failed)


def test_the_last_lines_of_what_failed_are_told_below_the_reason(rollout, workflow, deployed, thing, report):
    reason = "app is broken. The last lines of its output:\none\nNo module named 'cv2'"
    report(thing, deployed, "FAILED", reason=reason, errorStack=["DEPLOYMENT_FAILURE"])
    with pytest.raises(Problem) as failed:
        wait_for_deployment(workflow, rollout.own(workflow), timeout=20)
    first, *rest = failed.value.what.splitlines()
    assert first.endswith("the deployment FAILED: app is broken. The last lines of its output:")
    assert rest == ["    one", "    No module named 'cv2'", "    [DEPLOYMENT_FAILURE]"]


def test_a_failed_deployment_is_noted_and_repeated_when_asked(rollout, workflow, deployed, thing, report):
    report(thing, deployed, "FAILED", reason="it broke")
    plan = rollout.plan(workflow)
    assert plan.changes == ()
    assert "latest deployment FAILED" in plan.text()
    assert rollout.apply(workflow, retry_failed=True).outputs[DEPLOYMENT]["id"] != deployed


def test_waiting_ends_when_somebody_cancels_or_replaces_the_deployment(
    rollout, workflow, deployed, thing, greengrass, target, report
):
    report(thing, deployed, "IN_PROGRESS")

    def cancel(event):
        if isinstance(event, Waiting):
            greengrass.cancel_deployment(deploymentId=deployed)

    with pytest.raises(Problem, match="the deployment was cancelled"):
        wait_for_deployment(workflow, rollout.own(workflow), cancel, timeout=20)

    again = rollout.apply(workflow).outputs[DEPLOYMENT]["id"]
    report(thing, again, "IN_PROGRESS")

    def replace(event):
        if isinstance(event, Waiting):
            greengrass.create_deployment(targetArn=target, components={})

    with pytest.raises(Problem, match="another deployment has replaced this one"):
        wait_for_deployment(workflow, rollout.own(workflow), replace, timeout=20)


def test_a_device_that_says_nothing_is_waited_for_so_long_and_no_longer(rollout, workflow, deployed):
    with pytest.raises(Problem, match="has not arrived on every device in time: not reported yet"):
        wait_for_deployment(workflow, rollout.own(workflow), timeout=0.1)


@pytest.mark.parametrize(
    ("before", "after"), [("", "1.0.0"), ("1.0.0", "1.0.1"), ("1.2.9", "1.2.10"), ("2.0.0-beta", "2.0.1")]
)
def test_the_next_version_is_the_next_patch(before, after):
    assert next_patch(before) == after


def test_versions_are_ordered_by_number_and_a_pre_release_comes_before_its_release():
    versions = ["1.10.0", "1.9.0", "1.10.0-rc.1", "odd"]
    assert sorted(versions, key=sort_key) == ["odd", "1.9.0", "1.10.0-rc.1", "1.10.0"]


def test_a_failed_component_version_is_refused_until_a_retry_is_requested(workflow):
    ours = application_component(workflow)
    component = ComponentVersion(ours, Ownership("w", "application/component"))
    tags = {"emflow:workflow": "w", "emflow:digest": component.digest}
    broken = {"state": "FAILED", "message": "bad recipe", "tags": tags}
    observed = {"versions": {"1.0.0": broken}, "lost": {}}
    with pytest.raises(Problem, match=r"1\.0\.0 FAILED: bad recipe"):
        component.diff(observed, Inputs({}))
    again = ComponentVersion(ours, component.ownership, retry_failed=True)
    assert again.diff(observed, Inputs({})).outputs == {"version": "1.0.1"}
