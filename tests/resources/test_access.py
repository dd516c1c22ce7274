"""Role, permissions, role alias, fleet and devices: made, or taken as they are and added to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from emflow.engine.destroy import plan_removal, remove
from emflow.engine.resource import REMOVABLE, Action, Inputs
from emflow.problems import Problem
from emflow.resources import removable_resources
from emflow.resources.aws_calls import retry_until_assumable
from emflow.resources.iam import policy_documents
from emflow.resources.iam.role_alias import RoleAlias
from emflow.resources.ownership import Ownership, tags_as_mapping
from emflow.resources.sagemaker.fleet import Fleet
from resources.conftest import another, within

THEIRS = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}


def step(plan, resource):
    return next(step for step in plan.steps if step.resource.id == resource)


def trust(client, role):
    return client("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]


class Waits:
    """A run in which waiting does something, and time passes at once."""

    def __init__(self, on_waiting=lambda: None):
        self.reported_steps = []
        self.on_waiting = on_waiting

    def waiting(self, state, reason=""):
        self.reported_steps.append((state, reason))
        self.on_waiting()

    def pause(self, seconds):
        pass


def test_trust_is_added_to_the_existing_document_and_what_others_put_there_stays(rollout, workflow, client):
    role = workflow.cloud.role.name
    document = {"Version": "2012-10-17", "Statement": [THEIRS]}
    client("iam").create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(document))
    rollout.apply(workflow)
    statements = trust(client, role)["Statement"]
    assert statements[0] == THEIRS
    assert [each["Principal"]["Service"] for each in statements[1:]] == list(policy_documents.TRUSTED)
    rollout.apply(workflow)
    assert rollout.changing_calls == []


@pytest.mark.parametrize(
    ("statement", "services"),
    [
        (THEIRS, ["ec2.amazonaws.com"]),
        ({**THEIRS, "Principal": {"Service": ["a", "b"]}, "Action": ["sts:AssumeRole", "sts:TagSession"]}, ["a", "b"]),
        ({**THEIRS, "Effect": "Deny"}, []),
        ({**THEIRS, "Action": "sts:AssumeRoleWithSAML"}, []),
        ({**THEIRS, "Condition": {"StringEquals": {"aws:SourceAccount": "1"}}}, []),
        ({**THEIRS, "Principal": "*"}, []),
    ],
)
def test_who_may_assume_a_role_without_any_condition(statement, services):
    assert policy_documents.trusted_by({"Statement": statement}) == services
    assert policy_documents.trusted_by({"Statement": [statement]}) == services


def test_the_role_of_an_existing_alias_is_taken_and_what_is_missing_is_added(rollout, workflow, client):
    """The workshop's first way: the core device has its alias and its role already."""
    iam, iot, name = client("iam"), client("iot"), f"core-role-{workflow.metadata.name}"
    document = {"Version": "2012-10-17", "Statement": [THEIRS]}
    arn = iam.create_role(Path="/service/", RoleName=name, AssumeRolePolicyDocument=json.dumps(document))["Role"]["Arn"]
    alias = f"core-alias-{workflow.metadata.name}"
    iot.create_role_alias(roleAlias=alias, roleArn=arn, credentialDurationSeconds=900)
    taken = within(workflow, "cloud.role", from_alias=alias)
    rollout.apply(taken)
    assert "iot:CreateRoleAlias" not in rollout.calls
    assert "iot:UpdateRoleAlias" not in rollout.calls
    assert "iam:CreateRole" not in rollout.calls
    assert policy_documents.trusted_by(trust(client, name)) == ["ec2.amazonaws.com", *policy_documents.TRUSTED]
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == [f"emflow-{workflow.metadata.name}@us-east-1"]
    fleet = client("sagemaker").describe_device_fleet(DeviceFleetName=workflow.cloud.fleet.name)
    assert fleet["RoleArn"] == arn
    assert rollout.plan(taken).changes == ()

    removal = plan_removal(removable_resources(taken), rollout.own(taken))
    assert {each.id for each, _ in removal.to_keep} >= {"access/role", "access/role_alias"}
    remove(removal, rollout.own(taken))
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == []
    assert iot.describe_role_alias(roleAlias=alias)["roleAliasDescription"]["credentialDurationSeconds"] == 900


def test_a_missing_alias_is_named_and_does_not_block_destroy(rollout, workflow):
    taken = within(workflow, "cloud.role", from_alias="nobodys")
    with pytest.raises(Problem, match="IoT knows no role alias nobodys") as refused:
        rollout.plan(taken)
    assert "iotRoleAlias" in refused.value.mend
    assert plan_removal(removable_resources(taken), rollout.own(taken)).text() == "Nothing to remove."


def test_everything_that_takes_tags_has_the_users_and_follows_them(rollout, workflow, client):
    tagged = within(workflow, "aws", tags={"team": "vision", "site": "hall 3"})
    rollout.apply(tagged)

    def found():
        cloud, account = workflow.cloud, "us-east-1:123456789012"
        sagemaker, greengrass, iot = client("sagemaker"), client("greengrassv2"), client("iot")
        fleet = f"arn:aws:sagemaker:{account}:device-fleet/{cloud.fleet.name}"
        jobs = f"arn:aws:sagemaker:{account}"
        alias = iot.describe_role_alias(roleAlias=cloud.role.alias)["roleAliasDescription"]["roleAliasArn"]
        return {
            "bucket": tags_as_mapping(client("s3").get_bucket_tagging(Bucket=cloud.buckets.components.name)["TagSet"]),
            "role": tags_as_mapping(client("iam").list_role_tags(RoleName=cloud.role.name)["Tags"]),
            "alias": tags_as_mapping(iot.list_tags_for_resource(resourceArn=alias)["tags"]),
            "fleet": tags_as_mapping(sagemaker.list_tags(ResourceArn=fleet)["Tags"]),
            "device": tags_as_mapping(
                sagemaker.list_tags(ResourceArn=f"{fleet}/device/{cloud.fleet.devices[0]}")["Tags"]
            ),
            "compilation": tags_as_mapping(
                sagemaker.list_tags(ResourceArn=f"{jobs}:compilation-job/{cloud.compile.job}")["Tags"]
            ),
            "packaging": tags_as_mapping(
                sagemaker.list_tags(ResourceArn=f"{jobs}:edge-packaging-job/{cloud.package.job}")["Tags"]
            ),
            **{
                name: greengrass.describe_component(
                    arn=f"arn:aws:greengrass:{account}:components:{name}:versions:1.0.0"
                )["tags"]
                for name in (cloud.package.component.name, workflow.edge.component.name)
            },
        }

    assert {(tags["team"], tags["site"]) for tags in found().values()} == {("vision", "hall 3")}
    later = within(workflow, "aws", tags={"team": "sound"})
    rollout.apply(later)
    now = {kind: found()[kind] for kind in ("bucket", "role", "alias", "fleet")}
    assert {tags["team"] for tags in now.values()} == {"sound"}
    assert all("site" not in tags for tags in now.values())
    assert rollout.plan(later).changes == ()


def test_the_role_may_use_the_keys_of_the_buckets_through_s3_only(workflow):
    key = "arn:aws:kms:us-east-1:123456789012:key/1234abcd"
    encryption = type(workflow.cloud.buckets.components.encryption)
    keyed = within(workflow, "cloud.buckets.components", encryption=encryption(kms_key=key))
    keyed = within(keyed, "cloud.buckets.inference_results", encryption=encryption(kms_key="alias/vision"))
    by_arn, by_alias = policy_documents.least_privilege(keyed, "aws")["Statement"][-2:]
    assert by_arn["Resource"] == [key]
    assert by_alias["Condition"]["ForAnyValue:StringEquals"] == {"kms:ResourceAliases": ["alias/vision"]}
    for statement in (by_arn, by_alias):
        assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
        assert statement["Condition"]["StringLike"] == {"kms:ViaService": "s3.us-east-1.amazonaws.com*"}
    assert "kms" not in json.dumps(policy_documents.least_privilege(workflow, "aws"))


def test_the_role_may_write_only_captures_of_this_fleet_into_their_bucket(workflow):
    prefixed = within(workflow, "edge.capture", prefix="/sme/capture/")
    bucket = f"arn:aws:s3:::{workflow.cloud.buckets.inference_results.name}"
    granted = {
        resource: statement["Action"]
        for statement in policy_documents.least_privilege(prefixed, "aws")["Statement"]
        for resource in statement["Resource"]
        if resource.startswith(f"{bucket}/")
    }
    assert granted == {f"{bucket}/sme/capture/{workflow.cloud.fleet.name}/*": ["s3:PutObject"]}


def test_the_role_may_do_no_more_than_this_workflow_needs(rollout, workflow, client):
    rollout.apply(workflow)
    role = workflow.cloud.role.name
    (name,) = client("iam").list_role_policies(RoleName=role)["PolicyNames"]
    document = client("iam").get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    resources = [resource for statement in document["Statement"] for resource in statement["Resource"]]
    assert "*" not in resources
    buckets = workflow.cloud.buckets
    for resource in resources:
        if ":s3:" in resource:
            assert resource.split(":::")[1].split("/")[0] in (buckets.components.name, buckets.inference_results.name)
    assert client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []


def test_two_workflows_share_a_role_and_neither_takes_the_others_permissions(rollout, workflow, client):
    rollout.apply(workflow)
    other = another(workflow)
    assert step(rollout.plan(other), "access/role").diff.action is Action.NONE
    assert step(rollout.plan(other), "access/permissions").diff.action is Action.CREATE
    rollout.apply(other)
    assert len(client("iam").list_role_policies(RoleName=workflow.cloud.role.name)["PolicyNames"]) == 2


def test_credentials_that_last_longer_than_the_roles_session_make_the_session_longer(rollout, workflow, client):
    rollout.apply(workflow)
    rollout.apply(within(workflow, "cloud.role", credential_duration="2h"), adopt={"access/role_alias"})
    cloud = workflow.cloud
    assert client("iam").get_role(RoleName=cloud.role.name)["Role"]["MaxSessionDuration"] == 7200
    alias = client("iot").describe_role_alias(roleAlias=cloud.role.alias)["roleAliasDescription"]
    assert alias["credentialDurationSeconds"] == 7200


def test_an_alias_for_another_role_is_not_pointed_elsewhere_without_the_users_word(rollout, workflow, client):
    other = "arn:aws:iam::123456789012:role/other"
    alias = workflow.cloud.role.alias
    client("iot").create_role_alias(roleAlias=alias, roleArn=other)
    with pytest.raises(Problem, match=r"role alias .* was not made by this workflow"):
        rollout.apply(workflow)
    assert client("iot").describe_role_alias(roleAlias=alias)["roleAliasDescription"]["roleArn"] == other
    rollout.apply(workflow, adopt={"access/role_alias"})
    found = client("iot").describe_role_alias(roleAlias=alias)["roleAliasDescription"]
    assert found["roleArn"].endswith(workflow.cloud.role.name)


def test_the_fleet_follows_its_description(rollout, workflow, client):
    rollout.apply(workflow)
    rollout.apply(within(workflow, "cloud.fleet", description="Boards in hall 3"))
    assert rollout.changing_calls == ["sagemaker:UpdateDeviceFleet"]
    fleet = client("sagemaker").describe_device_fleet(DeviceFleetName=workflow.cloud.fleet.name)
    assert fleet["Description"] == "Boards in hall 3"
    rollout.apply(workflow)
    fleet = client("sagemaker").describe_device_fleet(DeviceFleetName=workflow.cloud.fleet.name)
    assert fleet["Description"].strip() == ""
    assert rollout.plan(workflow).changes == ()


def test_a_role_that_sagemaker_does_not_know_yet_is_waited_for_with_the_reason(rollout, workflow, client):
    name = f"{workflow.cloud.role.name}-late"
    arn = f"arn:aws:iam::123456789012:role/{name}"
    waits = Waits(
        lambda: client("iam").create_role(
            RoleName=name, AssumeRolePolicyDocument=json.dumps(policy_documents.with_trusted_services(None)), Tags=[]
        )
    )
    fleet = Fleet(workflow.cloud.fleet.name, "", "s3://somewhere", Ownership("w", "fleet/fleet"))
    inputs = Inputs({"access/role": {"arn": arn}})
    clients = rollout.own(workflow)
    fleet.apply(clients, fleet.diff(None, inputs), inputs, waits)
    assert (fleet.observe(clients) or {})["role"] == arn
    ((state, reason),) = waits.reported_steps
    assert state == "role not known yet"
    assert "Could not assume role" in reason


def test_any_other_refusal_is_not_waited_out():
    calls = []

    def refused():
        calls.append(1)
        raise ClientError({"Error": {"Code": "ValidationException", "Message": "bad name"}}, "CreateDeviceFleet")

    with pytest.raises(ClientError, match="bad name"):
        retry_until_assumable(refused, Waits())
    assert len(calls) == 1


def test_an_alias_without_a_role_is_read_and_given_one():
    class Iot:
        def describe_role_alias(self, **_):
            return {"roleAliasDescription": {"roleAliasArn": "arn:aws:iot:us-east-1:1:rolealias/a"}}

        def get_paginator(self, _):
            return self

        def paginate(self, **_):
            return [{"tags": Ownership("w", "access/role_alias").tag_list()}]

    alias = RoleAlias("a", 3600, Ownership("w", "access/role_alias"))
    clients: Any = {"iot": Iot()}.__getitem__
    found = alias.observe(clients)
    assert found
    diff = alias.diff(found, Inputs({"access/role": {"arn": "arn:aws:iam::1:role/r"}}))
    assert [change.field for change in diff.changes] == ["role", "seconds"]
    assert alias.retention(found, delete_data=False) == REMOVABLE


def attached_to(client, role):
    return {each["PolicyName"] for each in client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]}


def test_a_change_to_least_privilege_detaches_only_the_workshops_policies(rollout, workflow, client):
    role = workflow.cloud.role.name
    rollout.apply(within(workflow, "cloud.role", policies="workshop"))
    assert "AmazonS3FullAccess" in attached_to(client, role)
    theirs = "arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess"
    client("iam").attach_role_policy(RoleName=role, PolicyArn=theirs)
    rollout.apply(workflow)
    assert attached_to(client, role) == {"AmazonEC2ReadOnlyAccess"}
    assert client("iam").list_role_policies(RoleName=role)["PolicyNames"] == [
        f"emflow-{workflow.metadata.name}@us-east-1"
    ]
    assert rollout.plan(workflow).changes == ()


def test_a_role_of_others_keeps_its_wide_policies_and_the_plan_says_so(rollout, workflow, client):
    iam, role = client("iam"), workflow.cloud.role.name
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(policy_documents.with_trusted_services(None)))
    iam.attach_role_policy(RoleName=role, PolicyArn="arn:aws:iam::aws:policy/AmazonS3FullAccess")
    assert "keeps policies that it does not need: AmazonS3FullAccess" in rollout.plan(workflow).text()
    rollout.apply(workflow)
    assert attached_to(client, role) == {"AmazonS3FullAccess"}
