"""A target that others revise too: what this workflow put there is never forgotten, what others put there stays."""

from __future__ import annotations

import pytest
from botocore.stub import Stubber

from emflow.engine.apply import apply_plan
from emflow.engine.destroy import plan_removal, remove
from emflow.engine.plan import make_plan
from emflow.problems import Problem
from emflow.resources import desired_resources, removable_resources
from resources.conftest import another, within
from resources.test_destroy import destroy, gone
from resources.test_orphans import ACCOUNT, deployed

CLI = "aws.greengrass.Cli"


@pytest.fixture
def revise(client):
    """Revise the deployment of a workflow's target by hand, as often as `times`; nothing of it is lost."""

    def make(workflow, times):
        target = workflow.cloud.deployment.target.arn_suffix
        components = {**deployed(client, target), CLI: {"componentVersion": "2.12.6"}}
        for _ in range(times):
            client("greengrassv2").create_deployment(targetArn=f"{ACCOUNT}:{target}", components=components)

    return make


def refusing_search(rollout, workflow):
    """Clients of an account that may not search by tags."""
    clients = rollout.clients(workflow)
    stub = Stubber(clients("resourcegroupstaggingapi"))
    for _ in range(50):
        stub.add_client_error("get_resources", "AccessDeniedException", "no", 400)
    stub.activate()
    return clients


@pytest.mark.parametrize("searching", [True, False], ids=["by tags", "revision by revision"])
def test_after_many_foreign_revisions_the_components_are_still_removed(rollout, workflow, client, revise, searching):
    rollout.apply(workflow)
    revise(workflow, 25)
    clients = rollout.own(workflow) if searching else refusing_search(rollout, workflow)
    removal = plan_removal(removable_resources(workflow), clients)
    going = [each.id for each in removal.to_remove]
    assert going.index("deployment/target") < going.index("application/component") < going.index("access/role")
    remove(removal, clients)
    assert deployed(client, workflow.cloud.deployment.target.arn_suffix).keys() == {CLI}


def test_after_many_foreign_revisions_a_dropped_component_is_still_dropped(rollout, workflow, client, revise):
    rollout.apply(workflow)
    old = workflow.edge.component.name
    revise(workflow, 25)
    rollout.apply(within(workflow, "edge.component", name=f"{old}-renamed"))
    there = deployed(client, workflow.cloud.deployment.target.arn_suffix)
    assert old not in there
    assert f"{old}-renamed" in there


def test_what_devices_run_stays_although_no_deployment_says_whose_it_is(rollout, workflow, client):
    """A deployment of the workflow was replaced by a person, who deleted it with all that it recorded."""
    greengrass = client("greengrassv2")
    target = workflow.cloud.deployment.target.arn_suffix
    made = rollout.apply(workflow).outputs["deployment/target"]["id"]
    greengrass.create_deployment(targetArn=f"{ACCOUNT}:{target}", components=deployed(client, target))
    greengrass.delete_deployment(deploymentId=made)
    going, staying = destroy(rollout, workflow, delete_data=True)
    assert going == []
    assert "no deployment says that this workflow put it there" in staying["deployment/target"]
    assert f"the deployment of {target} has it" in staying["application/component"]
    assert "bucket/components" in staying
    client("iam").get_role(RoleName=workflow.cloud.role.name)


def test_a_version_that_a_person_deploys_elsewhere_stays_with_its_bucket(rollout, workflow, client):
    rollout.apply(workflow)
    application, thing = workflow.edge.component.name, f"elsewhere-{workflow.metadata.name}"
    client("iot").create_thing(thingName=thing)
    client("greengrassv2").create_deployment(
        targetArn=f"{ACCOUNT}:thing/{thing}", components={application: {"componentVersion": "1.0.0"}}
    )
    going, staying = destroy(rollout, workflow, delete_data=True)
    assert "deployment/target" in going
    assert staying["application/component"].startswith(f"the deployment of thing/{thing} has it")
    assert staying["bucket/components"] == "application/component stays, and needs it"
    client("greengrassv2").create_deployment(targetArn=f"{ACCOUNT}:thing/{thing}", components={})
    going, _ = destroy(rollout, workflow, delete_data=True)
    assert {"application/component", "bucket/components"} <= set(going)


@pytest.fixture
def both(rollout, workflow):
    """Two workflows on one thing, in one fleet, with the same role; each has an application of its own."""
    rollout.apply(workflow)
    other = another(workflow)
    other = within(other, "edge.component", name=f"{workflow.edge.component.name}-too")
    rollout.apply(other)
    return workflow, other


def test_settings_that_another_workflow_made_need_permission_to_change(rollout, both, client):
    first, other = both
    target = first.cloud.deployment.target.arn_suffix
    before = deployed(client, target)
    captured = within(other, "edge.capture", prefix="another-folder")
    with pytest.raises(Problem, match="has components of other workflows, which this one would change") as refused:
        rollout.apply(captured)
    assert f"aws.greengrass.SageMakerEdgeManager of {first.metadata.name}" in refused.value.what
    assert "--adopt deployment/target" in (refused.value.mend or "")
    assert deployed(client, target) == before
    rollout.apply(captured, adopt={"deployment/target"})
    assert deployed(client, target) != before


def test_a_component_that_another_workflow_deploys_too_is_not_dropped_with_this_one(rollout, both, client):
    first, other = both
    target = first.cloud.deployment.target.arn_suffix
    shared = within(other, "edge.component", name=first.edge.component.name)
    rollout.apply(shared)  # the other workflow has no application of its own any more, it uses the first one's
    assert deployed(client, target).keys() >= {first.edge.component.name}
    destroy(rollout, other)
    assert deployed(client, target).keys() >= {first.edge.component.name, first.cloud.package.component.name}
    destroy(rollout, first)
    assert first.edge.component.name not in deployed(client, target)
    arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{first.edge.component.name}:versions:1.0.0"
    assert gone(client("greengrassv2").describe_component, arn=arn)


def test_a_second_apply_on_a_shared_target_changes_nothing(rollout, both):
    for workflow in both:
        clients = rollout.own(workflow)
        plan = make_plan(desired_resources(workflow), clients)
        changed = {step.resource.id: step.diff.changes for step in plan.changes}
        assert changed.keys() <= {"deployment/target"}  # its name is that of the last one who revised it
        apply_plan(plan, clients)


def test_the_agent_stays_until_the_last_workflow_that_needs_it_goes(rollout, both, client):
    first, other = both
    target, agent = first.cloud.deployment.target.arn_suffix, "aws.greengrass.SageMakerEdgeManager"
    destroy(rollout, first)
    assert {agent, other.edge.component.name} <= deployed(client, target).keys()
    destroy(rollout, other)
    assert deployed(client, target) == {}
