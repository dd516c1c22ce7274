"""The name of a component belongs to whoever made its versions: others publish into it with permission only."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emflow.engine.plan import make_plan
from emflow.problems import Problem
from emflow.resources import desired_resources
from emflow.resources.greengrass.component_queries import list_versions
from emflow.resources.ownership import Ownership
from emflow.resources.status_queries import newest_jobs
from emflow.workflow import load
from resources.conftest import another, within
from resources.test_orphans import HELPER, OWN
from support import until


def elsewhere(workflow, client):
    """Another workflow with everything of its own, but for the names of components."""
    other, name = another(workflow), f"second-{workflow.metadata.name}"
    client("iot").create_thing(thingName=name)
    cloud = other.cloud
    changed: dict[str, dict[str, Any]] = {
        "cloud.buckets.components": {"name": f"{cloud.buckets.components.name}-2"},
        "cloud.buckets.inference_results": {"name": f"{cloud.buckets.inference_results.name}-2"},
        "cloud.role": {"name": f"{cloud.role.name}-2", "alias": f"{cloud.role.alias}-2"},
        "cloud.fleet": {"name": f"{cloud.fleet.name}-2", "devices": (name,)},
        "cloud.compile": {"job": f"{cloud.compile.job}-2"},
        "cloud.package": {"job": f"{cloud.package.job}-2"},
        "cloud.deployment": {"target": type(cloud.deployment.target)(thing=name)},
    }
    for path, values in changed.items():
        other = within(other, path, **values)
    return other


@pytest.mark.parametrize("part", ["application/component", "model/package", "component/helper"])
def test_no_version_is_published_into_the_name_of_another_workflow(rollout, file, client, part):
    workflow = load(file)
    helper = f"helper-{workflow.metadata.name}"
    if part == "component/helper":
        Path(file.parent / "helper.yaml").write_text(HELPER)
        file.write_text(file.read_text() + OWN % {"name": workflow.metadata.name})
        workflow, part = load(file), f"component/{helper}"
    rollout.apply(workflow)
    other = elsewhere(workflow, client)
    names = {
        "application/component": workflow.edge.component.name,
        "model/package": workflow.cloud.package.component.name,
        f"component/{helper}": helper,
    }
    if part != "application/component":
        other = within(other, "edge.component", name=f"{other.edge.component.name}-2")
    model = other.cloud.package.component
    if part == "model/package":
        other = within(other, "cloud.package.component", version="2.0.0")
    else:
        other = within(other, "cloud.package.component", name=f"{model.name}-2")
    if part == f"component/{helper}":
        (file.parent / "helper.yaml").write_text(HELPER.replace("1000", "2000"))
    clients = rollout.own(workflow)
    before = list_versions(clients, names[part])
    with pytest.raises(Problem) as refused:
        rollout.apply(other)
    assert f"component {names[part]} exists" in refused.value.what
    assert f"it was made by workflow {workflow.metadata.name} in us-east-1" in refused.value.what
    assert refused.value.mend == f"Choose another name in the workflow, or let emflow publish into it: --adopt {part}"
    assert list_versions(clients, names[part]) == before
    rollout.apply(other, adopt={part})
    assert len(list_versions(clients, names[part])) == len(before) + 1
    rollout.apply(other)  # a version is this workflow's now: nothing more has to be permitted
    assert rollout.changing_calls == []


def test_no_version_is_published_into_a_name_that_a_person_uses(rollout, workflow, client):
    greengrass = client("greengrassv2")
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": workflow.edge.component.name,
        "ComponentVersion": "0.1.0",
        "Manifests": [{"Lifecycle": {"run": "true"}}],
    }
    arn = greengrass.create_component_version(inlineRecipe=json.dumps(recipe).encode())["arn"]
    until(lambda: greengrass.describe_component(arn=arn)["status"]["componentState"] == "DEPLOYABLE")
    with pytest.raises(Problem, match=r"with version 0\.1\.0, and it was not made by this workflow"):
        rollout.plan(workflow)


def test_a_workflow_whose_own_versions_are_there_publishes_the_next(rollout, workflow, client):
    rollout.apply(workflow)
    rollout.apply(within(workflow, "cloud.package.component", version="2.0.0"))
    rollout.apply(within(workflow, "edge.component", version="7.0.0"))
    assert list_versions(rollout.own(workflow), workflow.edge.component.name)[0] == "7.0.0"


def packaged(client, workflow):
    """Bucket and key of the object that the model's component refers to."""
    bucket = workflow.cloud.buckets.components.name
    listed = client("s3").list_objects_v2(Bucket=bucket, Prefix="models/packaged/")["Contents"]
    return bucket, listed[0]["Key"]


def test_a_model_component_whose_object_is_gone_is_no_zero_changes(rollout, workflow, client):
    rollout.apply(workflow)
    bucket, key = packaged(client, workflow)
    client("s3").delete_object(Bucket=bucket, Key=key)
    with pytest.raises(Problem, match=f"refers to, s3://{bucket}/{key}: no device can install it") as refused:
        rollout.plan(workflow)
    assert "Raise cloud.package.component.version" in (refused.value.mend or "")
    raised = within(workflow, "cloud.package.component", version="2.0.0")
    rollout.apply(raised)
    rollout.apply(raised)
    assert rollout.changing_calls == []


def test_an_object_that_may_not_be_looked_at_is_said_to_be_unknown(rollout, workflow, client):
    rollout.apply(workflow)
    bucket, key = packaged(client, workflow)
    clients = rollout.clients(workflow)

    def refused(params: Any, **_: Any) -> Any:
        if "models/packaged/" in params["url_path"]:
            answer = {"Error": {"Code": "403"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
            return SimpleNamespace(status_code=403), answer
        return None

    clients("s3").meta.events.register("before-call.s3.HeadObject", refused)
    plan = make_plan(desired_resources(workflow), clients)
    assert plan.changes == ()
    assert f"whether s3://{bucket}/{key} exists is not known" in plan.text()


def test_jobs_of_another_workflow_with_a_longer_name_are_not_shown(rollout, workflow, client):
    rollout.apply(workflow)
    sagemaker, cloud = client("sagemaker"), workflow.cloud
    made = sagemaker.describe_compilation_job(CompilationJobName=cloud.compile.job)
    given = {key: made[key] for key in ("RoleArn", "InputConfig", "OutputConfig", "StoppingCondition")}
    theirs = Ownership("another", "model/compilation", region="us-east-1").tag_list()
    for name, tags in {"longer": [], "longer-0123abcd": [], "0123abcd": theirs, "0123abcd-2": theirs}.items():
        sagemaker.create_compilation_job(CompilationJobName=f"{cloud.compile.job}-{name}", **given, Tags=tags)
    shown = {job.kind: job.name for job in newest_jobs(workflow, rollout.own(workflow))}
    assert shown == {"compilation": cloud.compile.job, "packaging": cloud.package.job}
    mine = Ownership(workflow.metadata.name, "model/compilation", region="us-east-1").tag_list()
    sagemaker.create_compilation_job(CompilationJobName=f"{cloud.compile.job}-4567cdef", **given, Tags=mine)
    shown = {job.kind: job.name for job in newest_jobs(workflow, rollout.own(workflow))}
    assert shown["compilation"] == f"{cloud.compile.job}-4567cdef"
