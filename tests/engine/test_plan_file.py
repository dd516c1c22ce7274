"""A plan as JSON: what is in it, what is not, and when it is refused."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

import pytest
from jsonschema import Draft202012Validator

from emflow.engine.plan import make_plan
from emflow.engine.resource import KNOWN_AFTER_APPLY, Action, FieldLabel
from emflow.engine.saved_plan import (
    AccountRegion,
    PlanRequest,
    observed_digests,
    plan_document,
    read_plan,
    refuse_changed_workflow,
    refuse_changed_world,
    request_from_plan,
    to_json_data,
    workflow_parts,
)
from emflow.problems import Problem, UsageProblem
from emflow.workflow import load
from emflow_schema import load as schema
from engine.things import World, thing

AWS = AccountRegion("123456789012", "us-east-1")


@pytest.fixture
def workflow(request):
    return load(request.config.rootpath / "workflows" / "demo.yaml", environ={})


LABELS = {
    "policy": FieldLabel("the policy"),
    "tags": FieldLabel("the set of tags", named_items=True),
    "latest": FieldLabel("the target's latest deployment"),
}


def things(**values):
    bucket = thing("bucket", value={"name": "b", **values})
    return [thing("role", labels=LABELS), thing("alias", "role", uses="role"), bucket]


def made(workflow, world, resources=None, **request):
    plan = make_plan(resources or things(), world)
    return plan_document(plan, workflow, PlanRequest("demo.yaml", **{"options": options(), **request}), AWS)


def options(**values):
    return {"retry_failed": False, "adopt": [], "target": [], "var_file": [], **values}


def change(planned, resource, field):
    changes = next(each["changes"] for each in planned["resources"] if each["id"] == resource)
    return next(each for each in changes if each["field"] == field)


def test_it_is_what_the_schema_says_and_survives_being_written(workflow):
    planned = made(workflow, World({"bucket": {"value": 1, "at": datetime(2026, 1, 2, tzinfo=UTC)}}))
    Draft202012Validator(schema("plan")).validate(json.loads(json.dumps(planned)))
    assert planned["summary"] == {"create": 2, "update": 1, "replace": 0, "remove": 0, "none": 0}
    assert [each["id"] for each in planned["resources"]] == ["role", "bucket", "alias"]


def test_what_exists_only_after_apply_is_said_to(workflow):
    planned = made(workflow, World())
    assert change(planned, "alias", "used") == {
        "field": "used",
        "old": None,
        "new": "(known after apply)",
        "known_after_apply": True,
    }
    assert not change(planned, "alias", "value")["known_after_apply"]


def test_passwords_are_in_none_of_it(workflow):
    url = "rtspt://admin:s3cret@10.0.0.7/1"
    world = World({"bucket": {"value": url}})
    planned = made(workflow, world, things(camera=url), vars={"camera": url, "prefix": "acme"})
    assert "s3cret" not in json.dumps(planned)
    assert planned["vars"] == {"camera": None, "prefix": "acme"}
    # Not even as a digest, from which a short one could be guessed.
    assert observed_digests({"v": "rtsp://a:123456@h/"}) == observed_digests({"v": "rtsp://a:654321@h/"})


def test_a_variable_with_a_password_has_to_be_given_again_and_no_other(workflow):
    planned = made(workflow, World(), vars={"camera": "rtspt://admin:s3cret@10.0.0.7/1", "prefix": "acme"})
    with pytest.raises(UsageProblem, match=r"--var camera=…"):
        request_from_plan(planned, {})
    with pytest.raises(UsageProblem, match="prefix was set when"):
        request_from_plan(planned, {"camera": "x", "prefix": "other"})
    assert request_from_plan(planned, {"camera": "x"}).vars == {"camera": "x", "prefix": "acme"}


def test_the_same_world_is_let_through(workflow):
    world = World({"bucket": {"value": 1}})
    refuse_changed_world(made(workflow, world), make_plan(things(), world), AWS)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"role": {"value": 1}}, {"role": {"value": 1, "policy": "x"}}, "role: the policy has changed"),
        ({"role": {"tags": {"a": "1"}}}, {"role": {"tags": {"a": "2"}}}, "role: the set of tags (a) has changed"),
        ({"role": {"tags": {}}}, {"role": {"tags": {"a": "2"}}}, "role: the set of tags has changed"),
        (
            {"role": {"latest": {"id": "1", "at": "2"}}},
            {"role": {"latest": {"id": "2", "at": "3"}}},
            "planned, so nothing was done\n  role: the target's latest deployment has changed",
        ),
        ({"role": {"value": 1}}, {"role": {"value": 2}}, "role: value has changed"),
        ({}, {"role": {"value": 1}}, "role: did not exist, and does now"),
        ({"role": {"value": 1}}, {}, "role: existed, and does not exist any more"),
    ],
)
def test_a_world_that_moved_is_refused_with_resource_and_field(workflow, before, after, words):
    planned = made(workflow, World(before))
    with pytest.raises(Problem) as refused:
        refuse_changed_world(planned, make_plan(things(), World(after)), AWS)
    assert words in refused.value.what
    assert "Make a new plan" in refused.value.mend


def test_other_content_than_planned_is_refused_though_the_world_is_the_same(workflow):
    planned = made(workflow, World())
    with pytest.raises(Problem, match="bucket: would be changed to other values now"):
        refuse_changed_world(planned, make_plan(things(model="other"), World()), AWS)
    with pytest.raises(Problem, match="bucket: no longer in the plan"):
        refuse_changed_world(planned, make_plan(things()[:2], World()), AWS)


def test_another_account_is_refused(workflow):
    with pytest.raises(Problem, match="account 123456789012 in us-east-1, this is 999999999999 in us-east-1"):
        refuse_changed_world(
            made(workflow, World()), make_plan(things(), World()), AccountRegion("9" * 12, "us-east-1")
        )


def test_another_workflow_is_refused_with_the_part_that_differs(workflow):
    planned = made(workflow, World())
    refuse_changed_workflow(planned, dataclasses.replace(workflow, folder="/elsewhere"))
    publish = dataclasses.replace(workflow.edge.publish, topic="other/topic")
    other = dataclasses.replace(workflow, edge=dataclasses.replace(workflow.edge, publish=publish))
    with pytest.raises(Problem, match=r"differs in: edge\.publish\n") as refused:
        refuse_changed_workflow(planned, other)
    assert refused.value.where == "demo.yaml"
    assert set(workflow_parts(other)) >= {"cloud.model", "edge.streams", "aws.region"}


def test_a_workflow_is_no_plan_and_neither_is_other_json(tmp_path, request):
    assert read_plan(request.config.rootpath / "workflows" / "demo.yaml") is None
    other = tmp_path / "other.json"
    other.write_text('{"apiVersion": "emflow/v1"}')
    assert read_plan(other) is None
    assert read_plan(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"format": "emflow.plan/v9"}, "another version"),
        ({"emflow": "99.0"}, "made by emflow 99.0"),
        ({"resources": [{}]}, r"damaged or incomplete: \$\.resources\[0\]"),
    ],
)
def test_a_plan_of_another_version_or_half_a_plan_is_refused(workflow, tmp_path, spoil, words):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({**made(workflow, World()), **spoil}))
    with pytest.raises(UsageProblem, match=words):
        read_plan(file)


def test_what_an_answer_says_about_itself_does_not_count():
    there = {"name": "x", "when": datetime(2026, 1, 2, tzinfo=UTC), "kinds": {Action.NONE}}
    assert observed_digests({**there, "ResponseMetadata": {"RequestId": "1"}}) == observed_digests(there)
    assert to_json_data(there) == {"name": "x", "when": "2026-01-02T00:00:00+00:00", "kinds": ["="]}


def test_a_text_that_reads_like_known_after_apply_is_not_taken_for_it(workflow):
    text = str(KNOWN_AFTER_APPLY)
    assert text != KNOWN_AFTER_APPLY
    planned = made(workflow, World(), [thing("bucket", value=text)])
    assert change(planned, "bucket", "value") == {
        "field": "value",
        "old": None,
        "new": text,
        "known_after_apply": False,
    }
    within = made(workflow, World(), [thing("bucket", value={"list": [KNOWN_AFTER_APPLY]})])
    assert change(within, "bucket", "value")["known_after_apply"]
    assert change(within, "bucket", "value")["new"] == {"list": [text]}
