"""Compilation and packaging: facts that are reused, failures that are shown and not repeated blindly."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from emflow.engine.apply import apply_plan
from emflow.engine.destroy import plan_removal, remove
from emflow.engine.events import Failed, Skipped, Waiting
from emflow.engine.plan import make_plan
from emflow.engine.resource import Action
from emflow.problems import Problem
from emflow.resources import desired_resources, removable_resources
from emflow.resources.sagemaker import jobs
from emflow.resources.sagemaker.jobs import Job
from resources.conftest import another, within

DIGEST = "0123456789abcdef"
INPUTS = {"model": "s3://b/new"}


def compare(*there, retry_failed=False):
    return jobs.compare("model/compilation", "job", DIGEST, there, INPUTS, retry_failed=retry_failed)


def step(plan, resource):
    return next(step for step in plan.steps if step.resource.id == resource)


@pytest.fixture
def wrong(workflow):
    """The model is declared with an input that it does not have."""
    return within(workflow, "cloud.model", inputs={"input": (1, 100, 100, 3)})


def test_a_failed_job_shows_its_reason_stops_the_rest_and_leaves_what_was_done(rollout, wrong, client):
    events: list[Any] = []
    with pytest.raises(Problem) as failed:
        rollout.apply(wrong, events.append)
    job = wrong.cloud.compile.job
    reason = client("sagemaker").describe_compilation_job(CompilationJobName=job)["FailureReason"]
    assert reason
    assert reason in failed.value.what
    assert failed.value.exit_code == 1
    assert "--retry-failed" in failed.value.mend
    assert [event.resource for event in events if isinstance(event, Failed)] == ["model/compilation"]
    assert {"model/package", "deployment/target"} <= {e.resource for e in events if isinstance(e, Skipped)}
    assert (
        client("sagemaker").list_edge_packaging_jobs(NameContains=wrong.cloud.package.job)["EdgePackagingJobSummaries"]
        == []
    )


def test_a_later_apply_with_the_same_inputs_reports_the_earlier_failure(rollout, wrong, client):
    with pytest.raises(Problem) as first:
        rollout.apply(wrong)
    with pytest.raises(Problem) as second:
        rollout.apply(wrong)
    assert second.value.what == first.value.what
    assert rollout.changing_calls == []


def test_a_failed_job_is_repeated_under_a_next_name_when_asked(rollout, wrong):
    for _ in range(2):
        with pytest.raises(Problem) as failed:
            rollout.apply(wrong, retry_failed=True)
    assert f"{wrong.cloud.compile.job}-" in failed.value.what


def test_after_a_mended_input_what_was_done_is_reused_and_the_rest_is_made(rollout, wrong, workflow):
    with pytest.raises(Problem):
        rollout.apply(wrong)
    made = rollout.apply(workflow).actions
    assert made["model/compilation"] is Action.REPLACE
    assert "bucket/components" not in made
    assert "access/role" not in made
    assert "model/artifact" not in made
    assert rollout.plan(workflow).changes == ()


def test_the_states_of_a_job_are_reported_while_it_runs(slow_jobs, workflow):
    events: list[Any] = []
    slow_jobs.apply(workflow, events.append)
    told = [event.state for event in events if isinstance(event, Waiting) and event.resource == "model/compilation"]
    assert told
    assert set(told) <= {"STARTING", "INPROGRESS"}


def test_a_job_that_runs_already_is_waited_for_and_not_made_again(rollout, workflow):
    class Killed(BaseException):
        pass

    def kill(**_):
        raise Killed

    clients = rollout.clients(workflow)
    clients("sagemaker").meta.events.register("after-call.sagemaker.CreateCompilationJob", kill)
    with pytest.raises(Killed):
        apply_plan(make_plan(desired_resources(workflow), clients), clients)
    rollout.apply(workflow)
    assert "sagemaker:CreateCompilationJob" not in rollout.calls
    assert rollout.plan(workflow).changes == ()


@pytest.mark.parametrize("operation", ["CreateCompilationJob", "CreateEdgePackagingJob", "CreateComponentVersion"])
def test_a_create_whose_answer_was_lost_is_looked_up_before_it_counts_as_failed(rollout, workflow, operation):
    clients = rollout.clients(workflow)
    service = "greengrassv2" if operation == "CreateComponentVersion" else "sagemaker"

    def lose(**_):
        raise ReadTimeoutError(endpoint_url="https://aws.example")

    clients(service).meta.events.register(f"after-call.{service}.{operation}", lose)
    apply_plan(make_plan(desired_resources(workflow), clients), clients)
    assert rollout.calls.count(f"{service}:{operation}") == 1
    assert rollout.plan(workflow).changes == ()


def test_a_job_whose_result_somebody_deleted_is_made_again_under_another_name(rollout, workflow, client):
    outputs = rollout.apply(workflow).outputs
    bucket, _, key = outputs["model/compilation"]["artifact"].removeprefix("s3://").partition("/")
    client("s3").delete_object(Bucket=bucket, Key=key)
    diff = step(rollout.plan(within_next(workflow)), "model/compilation").diff
    assert diff.action is Action.REPLACE
    assert diff.notes == ("what it made does not exist any more",)


def gone(client, artifact):
    bucket, _, key = artifact.removeprefix("s3://").partition("/")
    client("s3").delete_object(Bucket=bucket, Key=key)


def test_once_the_model_is_packaged_nobody_needs_the_compiled_archive_again(rollout, workflow, client):
    gone(client, rollout.apply(workflow).outputs["model/compilation"]["artifact"])
    assert rollout.plan(workflow).changes == ()
    assert rollout.apply(workflow).actions == {}


def test_compiling_a_model_again_leaves_the_earlier_version_unchanged(rollout, workflow, client):
    gone(client, rollout.apply(workflow).outputs["model/compilation"]["artifact"])
    again = rollout.apply(within_next(workflow))
    assert again.actions["model/compilation"] is Action.REPLACE
    before = rollout.plan(workflow)
    assert step(before, "model/package").diff.action is Action.NONE
    assert step(before, "model/compilation").diff.action is Action.NONE


@pytest.mark.parametrize("other", ["content", "bucket"])
def test_a_component_version_with_other_content_is_refused_until_it_is_raised(rollout, workflow, other):
    rollout.apply(workflow)
    bucket = f"other-{workflow.cloud.buckets.components.name}"
    changed = {
        "content": lambda: within(workflow, "cloud.compile", target_device="jetson_nano"),
        "bucket": lambda: within(workflow, "cloud.buckets.components", name=bucket),
    }[other]()
    with pytest.raises(Problem, match="exists already, made of another model, compiled otherwise") as refused:
        rollout.plan(changed)
    assert "model/package" in str(refused.value)
    assert "cloud.package.component.version" in str(refused.value)
    raised = within_next(changed)
    rollout.apply(raised)
    assert rollout.plan(raised).changes == ()


def of_another_model(workflow, file):
    """The same workflow, in which the file of the model has been replaced."""
    model = file.parent / "scenes.tflite"
    model.write_bytes(model.read_bytes() + bytes(16))
    return within(workflow, "metadata")


def destroyed(rollout, workflow):
    clients = rollout.own(workflow)
    removal = plan_removal(removable_resources(workflow), clients)
    remove(removal, clients)
    return {each.id for each in removal.to_remove}


@pytest.mark.parametrize("kind", ["the model's name", "the model's file", "both"])
def test_a_version_that_was_removed_and_made_of_another_model_is_settled(rollout, workflow, file, kind):
    old = rollout.apply(workflow).outputs["model/package"]
    destroyed(rollout, workflow)
    changed = {
        "the model's name": lambda: within(workflow, "cloud.model", name="scenes-224-other"),
        "the model's file": lambda: of_another_model(workflow, file),
        "both": lambda: within(of_another_model(workflow, file), "cloud.model", name="scenes-224-other"),
    }[kind]()
    for _ in range(2):
        made = rollout.apply(changed).outputs["model/package"]
        assert made["artifact"] != old["artifact"]
        plan = rollout.plan(changed)
        assert plan.changes == ()
        assert step(plan, "model/package").diff.outputs == made
        old = made
        destroyed(rollout, changed)


@pytest.mark.parametrize("tagged", [True, False], ids=["tagged", "without tags"])
def test_an_earlier_job_does_not_stand_for_a_version_made_of_another_model(
    rollout, workflow, file, client, scenes_model, tagged
):
    rollout.apply(workflow)
    destroyed(rollout, workflow)
    changed = of_another_model(workflow, file)
    arn = rollout.apply(changed).outputs["model/package"]["component"]
    if not tagged:
        tags = client("greengrassv2").list_tags_for_resource(resourceArn=arn)["tags"]
        client("greengrassv2").untag_resource(resourceArn=arn, tagKeys=list(tags))
    (file.parent / "scenes.tflite").write_bytes(scenes_model.read_bytes())
    with pytest.raises(Problem, match="exists already, made of another model"):
        rollout.plan(workflow)


@pytest.mark.parametrize("tagged", [True, False], ids=["tagged", "without tags"])
def test_a_version_made_anew_by_another_workflow_is_not_the_first_ones(rollout, workflow, client, tagged):
    rollout.apply(workflow)
    assert "model/package" in destroyed(rollout, workflow)
    other = another(workflow)
    arn = rollout.apply(other).outputs["model/package"]["component"]
    if not tagged:
        tags = client("greengrassv2").list_tags_for_resource(resourceArn=arn)["tags"]
        client("greengrassv2").untag_resource(resourceArn=arn, tagKeys=list(tags))
    planned = step(rollout.plan(workflow), "model/package")
    assert planned.diff.action is Action.NONE
    assert not planned.observed["ours"]
    assert "model/package" not in destroyed(rollout, workflow)
    assert "model/package" in destroyed(rollout, other)


def within_next(workflow):
    """With the next version of the model component: packaging follows the compilation."""
    return within(workflow, "cloud.package.component", version="1.0.1")


def test_a_component_is_ours_by_its_job_before_our_tags_are_on_it(rollout, workflow, client):
    """SageMaker makes the component without tags; whoever is stopped right then finds it again all the same."""
    clients = rollout.clients(workflow)

    class Killed(BaseException):
        pass

    def kill(**_):
        raise Killed

    clients("greengrassv2").meta.events.register("before-call.greengrassv2.TagResource", kill)
    with pytest.raises(Killed):
        apply_plan(make_plan(desired_resources(workflow), clients), clients)
    removal = plan_removal(removable_resources(workflow), rollout.own(workflow))
    assert "model/package" in [each.id for each in removal.to_remove]
    plan = rollout.plan(workflow)
    assert "tags.emflow:workflow: (none) →" in plan.text()
    rollout.apply(workflow)
    assert "sagemaker:CreateEdgePackagingJob" not in rollout.calls
    assert rollout.plan(workflow).changes == ()


def test_a_component_that_another_workflows_job_made_stays_theirs(rollout, workflow):
    rollout.apply(workflow)
    other = another(workflow)
    assert step(rollout.plan(other), "model/package").diff.action is Action.NONE
    removal = plan_removal(removable_resources(other), rollout.own(other))
    assert "model/package" not in [each.id for each in removal.to_remove]


def test_names_are_taken_in_order_and_fit_into_63_characters():
    assert list(islice(jobs.names("job", DIGEST), 4)) == ["job", "job-01234567", "job-01234567-2", "job-01234567-3"]
    long = list(islice(jobs.names("j" * 63, DIGEST), 3))
    assert all(len(name) <= 63 for name in long)
    assert len(set(long)) == 3


def test_the_plain_name_is_taken_first():
    diff = compare()
    assert diff.action is Action.CREATE
    assert diff.outputs == {"job": "job"}


def test_other_inputs_take_a_name_with_their_digest():
    diff = compare(Job("job", "COMPLETED", {"model": "s3://b/old"}))
    assert diff.action is Action.REPLACE
    assert diff.outputs == {"job": "job-01234567"}


def test_the_same_inputs_are_reused_under_whichever_name():
    done = Job("job-01234567", "COMPLETED", INPUTS, outputs={"artifact": "s3://b/out"})
    diff = compare(Job("job", "COMPLETED", {"model": "s3://b/old"}), done)
    assert diff.action is Action.NONE
    assert diff.outputs == {"job": "job-01234567", "artifact": "s3://b/out"}


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_what_did_not_complete_is_refused_with_its_reason_until_asked_to_repeat(status):
    broken = Job("job", status, INPUTS, reason="no such operator")
    with pytest.raises(Problem, match=f"job {status}: no such operator"):
        compare(broken)
    assert compare(broken, retry_failed=True).outputs == {"job": "job-01234567"}


def test_a_success_after_a_failure_counts():
    diff = compare(Job("job", "FAILED", INPUTS), Job("job-01234567", "COMPLETED", INPUTS))
    assert diff.action is Action.NONE
