"""The registry: a kind that is in it is applied and destroyed, with what it needs before or after it."""

from __future__ import annotations

import pytest

from emflow.engine.apply import apply_plan
from emflow.engine.destroy import plan_removal, remove
from emflow.engine.plan import make_plan
from emflow.engine.scheduler import apply_graph, in_dependency_order, removal_graph
from emflow.problems import UsageProblem
from emflow.resources import desired_resources, removable_resources
from emflow.resources.greengrass.component_version import COMPONENT, OLD_COMPONENTS
from emflow.resources.greengrass.deployment import DEPLOYMENT, OLD_TARGETS
from emflow.resources.iam.role import OLD_ROLES, ROLE
from emflow.resources.iam.role_alias import OLD_ROLE_ALIASES
from emflow.resources.kind import ResourceKind
from emflow.resources.registry import KINDS
from emflow.resources.s3.bucket import OLD_BUCKETS
from emflow.resources.sagemaker.fleet import OLD_FLEETS
from emflow.workflow import load
from engine.things import World, thing


@pytest.fixture
def demo(request):
    return load(request.config.rootpath / "workflows" / "demo.yaml", environ={})


def lamps(context):
    """Two resources of a kind that exists in this test only; the second needs the first."""
    return [thing("lamp/post", value=context.workflow.metadata.name), thing("lamp/bulb", "lamp/post")]


LAMPS = ResourceKind(desired=lamps, removable=lamps, adoptable=("lamp/post",))


def test_one_more_kind_is_in_the_graph_of_apply_and_in_that_of_destroy(demo):
    kinds = (*KINDS, LAMPS)
    for graph in (
        apply_graph(desired_resources(demo, kinds=kinds)),
        removal_graph(removable_resources(demo, kinds=kinds)),
    ):
        assert graph["lamp/bulb"] == {"lamp/post"}
        assert {ROLE, COMPONENT, DEPLOYMENT} <= graph.keys()


def test_one_more_kind_is_applied_and_destroyed_in_its_order(demo):
    world = World()
    apply_plan(make_plan(desired_resources(demo, kinds=[LAMPS]), world), world)
    assert world.there["lamp/post"]["value"] == demo.metadata.name
    assert [each for each in world.did if each.startswith("apply")] == ["apply lamp/post", "apply lamp/bulb"]
    remove(plan_removal(removable_resources(demo, kinds=[LAMPS]), world), world)
    assert world.did[-2:] == ["delete lamp/bulb", "delete lamp/post"]
    assert world.there == {}


def test_what_can_be_adopted_is_what_the_kinds_say(demo):
    desired_resources(demo, adopt={"lamp/post"}, kinds=[LAMPS])
    with pytest.raises(UsageProblem, match="nothing called lamp/post can be adopted") as refused:
        desired_resources(demo, adopt={"lamp/post"})
    assert refused.value.mend == (
        "one of: bucket/components, bucket/inference_results, access/role, access/role_alias, fleet/fleet, "
        "model/package, application/component, deployment/target"
    )


def in_order(resources, graph):
    return [each.id for each in in_dependency_order(resources, graph(resources))]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (OLD_TARGETS, OLD_COMPONENTS),
        (DEPLOYMENT, OLD_TARGETS),
        (DEPLOYMENT, OLD_COMPONENTS),
        (DEPLOYMENT, OLD_FLEETS),
        (DEPLOYMENT, OLD_ROLE_ALIASES),
        (OLD_FLEETS, OLD_ROLES),
        (OLD_FLEETS, OLD_BUCKETS),
        (OLD_ROLE_ALIASES, OLD_ROLES),
    ],
)
def test_what_devices_may_still_use_is_removed_after_they_have_lost_it(demo, first, then):
    removed = in_order(removable_resources(demo), removal_graph)[::-1]
    assert removed.index(first) < removed.index(then)
    applied = in_order(desired_resources(demo), apply_graph)
    # A device of both targets would refuse two versions of a component: in an apply, the earlier target goes first.
    first, then = (then, first) if (first, then) == (DEPLOYMENT, OLD_TARGETS) else (first, then)
    assert applied.index(first) < applied.index(then)


def test_every_field_that_is_observed_has_a_label_or_a_plain_name(rollout, workflow):
    rollout.apply(workflow)
    for step in rollout.plan(workflow).steps:
        unlabelled = (step.observed or {}).keys() - step.resource.labels.keys()
        assert unlabelled <= {"name", "description"}, step.resource.id
