"""`emflow plan`: what it prints for people and for programs, and the file for `emflow apply`."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from emflow_schema import load
from resources.conftest import client, embedded, endpoint, file  # noqa: F401 fixtures

pytestmark = pytest.mark.e2e


def as_plan(text):
    plan = json.loads(text)
    Draft202012Validator(load("plan")).validate(plan)
    return plan


def step(plan, resource):
    return next(each for each in plan["resources"] if each["id"] == resource)


def test_as_json_it_is_what_the_schema_says_and_the_file_is_the_same(emflow, file):  # noqa: F811
    printed = emflow("plan", file, "--json", "--out", "plan.json", "--detailed-exitcode")
    assert printed.code == 3
    plan = as_plan(printed.out)
    assert (file.parent / "plan.json").read_text() == printed.out
    assert plan["summary"] == {"create": 13, "update": 0, "replace": 0, "remove": 0, "none": 0}
    assert plan["aws"] == {"account": "123456789012", "region": "us-east-1"}
    assert plan["workflow"]["file"] == str(file)
    assert step(plan, "bucket/components")["observed"] is None
    alias = next(each for each in step(plan, "access/role_alias")["changes"] if each["field"] == "role")
    assert (alias["new"], alias["known_after_apply"]) == ("(known after apply)", True)


def test_warnings_of_the_workflow_are_reported_beside_the_plan_and_in_its_json(emflow, file):  # noqa: F811
    reported = [line for line in emflow("validate", file).out.splitlines() if " warning: " in line]
    assert any("EM081" in line for line in reported)
    printed = emflow("plan", file, "--json")
    assert [line for line in printed.err.splitlines() if " warning: " in line] == reported
    plan = as_plan(printed.out)
    codes = [f"{each['path']}:{each['line']}:{each['column']}: {each['code']}" for each in plan["warnings"]]
    assert codes == [line.partition(" warning: ")[0] for line in reported]
    for_people = emflow("plan", file)
    assert "EM081" in for_people.err
    assert "EM081" not in for_people.out


def test_a_new_resource_is_shown_field_by_field_with_unknown_values_marked(emflow, file):  # noqa: F811
    lines = emflow("plan", file).out.splitlines()
    alias = next(number for number, line in enumerate(lines) if line.startswith("  + access/role_alias"))
    assert "      role: (known after apply)" in lines[alias + 1 :]
    assert any(line.startswith("      encryption: ") for line in lines)
    assert lines[-1] == "Plan: 13 to create, 0 to change, 0 to replace, 0 unchanged"


def test_once_it_is_applied_every_resource_is_in_the_json_and_none_changes(emflow, file):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    plan = as_plan(emflow("plan", file, "--json").out)
    assert plan["summary"]["none"] == len(plan["resources"]) == 13
    assert step(plan, "access/role")["observed"].keys() >= {"arn"}
    again = as_plan(emflow("plan", file, "--json").out)
    assert [each["observed"] for each in again["resources"]] == [each["observed"] for each in plan["resources"]]


def test_what_somebody_changed_by_hand_is_shown_as_old_and_new(emflow, file, client):  # noqa: F811
    assert emflow("apply", file, "--yes").code == 0
    role = file.read_text().split("role: {name: ")[1].split(",")[0]
    bucket = file.read_text().split("components: {name: ")[1].split("}")[0]
    client("s3").delete_public_access_block(Bucket=bucket)
    client("iot").update_role_alias(
        roleAlias=role.replace("role", "alias"),
        roleArn=client("iam").get_role(RoleName=role)["Role"]["Arn"],
        credentialDurationSeconds=900,
    )
    drifted = emflow("plan", file, "--detailed-exitcode")
    assert drifted.code == 3
    assert "  ~ bucket/components " in drifted.out
    assert "      seconds: 900 → 3600" in drifted.out
    assert "Plan: 0 to create, 2 to change, 0 to replace, 11 unchanged" in drifted.out


def test_only_a_target_and_what_it_needs(emflow, file):  # noqa: F811
    plan = as_plan(emflow("plan", file, "--json", "--target", "fleet/devices", "--target", "access/role").out)
    assert {each["id"] for each in plan["resources"]} >= {"fleet/devices", "fleet/fleet", "access/role"}
    assert not [each for each in plan["resources"] if each["id"].startswith("application/")]
    assert plan["options"]["target"] == ["access/role", "fleet/devices"]


def test_a_cameras_password_is_in_no_plan_and_has_to_be_given_again(emflow, file):  # noqa: F811
    file.write_text(
        file.read_text()
        .replace("vars: {", "vars: {camera: rtspt://10.0.0.7/1, ")
        .replace('"rtspt://192.168.1.20/stream1"', '"{{ vars.camera }}"')
    )
    camera = "camera=rtspt://admin:s3cret@10.0.0.7/1"
    for planned in (
        emflow("plan", file, "--var", camera),
        emflow("plan", file, "--var", camera, "--json", "--out", "plan.json"),
    ):
        if planned.code:
            assert "password" in planned.err  # a workflow may refuse it altogether
            pytest.skip("a password in a stream's address is refused")
        assert "s3cret" not in planned.out + planned.err
    assert "s3cret" not in (file.parent / "plan.json").read_text()
    refused = emflow("apply", "plan.json")
    assert refused.code == 2
    assert "--var camera=…" in refused.err
    applied = emflow("apply", "plan.json", "--var", camera)
    assert applied.code == 0
    assert "s3cret" not in applied.out + applied.err


def test_a_place_that_cannot_be_written_is_reported(emflow, file):  # noqa: F811
    refused = emflow("plan", file, "--out", "nowhere/plan.json")
    assert refused.code == 1
    assert "nowhere/plan.json: cannot be written" in refused.err


def test_what_is_about_new_installations_is_printed_while_there_is_none(emflow, file):  # noqa: F811
    assert "EM081" in emflow("plan", file).err
    assert "EM081" in emflow("apply", file, "--yes").err
    for command in (("plan", file), ("apply", file, "--yes"), ("status", file), ("destroy", file)):
        ran = emflow(*command)
        assert "EM081" not in ran.err + ran.out, command
    # For programs it stays what the workflow's rules say.
    assert [each["code"] for each in as_plan(emflow("plan", file, "--json").out)["warnings"]] == ["EM081"]
    assert "EM081" in emflow("validate", file).out
