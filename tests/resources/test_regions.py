"""One workflow in two regions: IAM is global, so each region says on a role that it uses it."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from emflow.engine.apply import apply_plan
from emflow.engine.destroy import plan_removal, remove
from emflow.engine.plan import make_plan
from emflow.resources import desired_resources, removable_resources
from emflow.resources.iam import policy_documents
from resources.conftest import another, within
from resources.test_access import attached_to, step

HERE, ELSEWHERE = "us-east-1", "eu-west-1"


@pytest.fixture
def abroad(workflow, embedded, rollout):
    """The same workflow in another region, with buckets of that region; and clients of it."""
    moved = within(workflow, "aws", region=ELSEWHERE)
    for bucket in ("components", "inference_results"):
        moved = within(moved, f"cloud.buckets.{bucket}", name=f"{getattr(workflow.cloud.buckets, bucket).name}-eu")
    key = embedded.credentials
    session = boto3.Session(key.id, key.secret, region_name=ELSEWHERE)
    iot = session.client("iot", endpoint_url=embedded.endpoint_url)
    iot.create_thing(thingName=workflow.cloud.deployment.target.thing)
    return moved, rollout.clients(moved)


def apply(workflow, clients):
    return apply_plan(make_plan(desired_resources(workflow), clients), clients)


def destroy(workflow, clients):
    removal = plan_removal(removable_resources(workflow), clients, delete_data=True)
    remove(removal, clients)
    return [each.id for each in removal.to_remove], {each.id: why for each, why in removal.to_keep}


def on_role(client, name) -> dict[str, Any]:
    """All that a role has: its tags, its trust, and its policies."""
    iam = client("iam")
    role = iam.get_role(RoleName=name)["Role"]
    inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
    return {
        "trust": role["AssumeRolePolicyDocument"],
        "session": role["MaxSessionDuration"],
        "tags": {tag["Key"]: tag["Value"] for tag in role.get("Tags", [])},
        "attached": attached_to(client, name),
        **{each: iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in inline},
    }


def policies(client, role):
    return set(client("iam").list_role_policies(RoleName=role)["PolicyNames"])


def test_a_second_region_adds_its_policy_and_takes_only_that_with_it(rollout, workflow, abroad, client):
    moved, there = abroad
    role, name = workflow.cloud.role.name, workflow.metadata.name
    rollout.apply(workflow)
    before = on_role(client, role)
    apply(moved, there)
    assert policies(client, role) == {f"emflow-{name}@{HERE}", f"emflow-{name}@{ELSEWHERE}"}
    assert {key: on_role(client, role)[key] for key in before} == before
    rollout.apply(workflow)
    assert rollout.changing_calls == []
    assert make_plan(desired_resources(moved), there).changes == ()
    going, staying = destroy(moved, there)
    assert staying["access/role"] == "it was not made by this workflow"
    assert "access/permissions" in going
    assert on_role(client, role) == before


def test_the_region_that_made_a_role_leaves_it_to_the_other_that_uses_it(rollout, workflow, abroad, client):
    moved, there = abroad
    role, name = workflow.cloud.role.name, workflow.metadata.name
    rollout.apply(workflow)
    apply(moved, there)
    _, staying = destroy(workflow, rollout.own(workflow))
    assert staying["access/role"].endswith(f"emflow-{name}@{ELSEWHERE}")
    assert "access/role_alias" not in staying
    assert policies(client, role) == {f"emflow-{name}@{ELSEWHERE}"}
    assert make_plan(desired_resources(moved), there).changes == ()


@pytest.mark.parametrize("policies", ["least-privilege", "workshop"])
def test_each_region_takes_its_role_alias_with_it(rollout, workflow, abroad, policies):
    moved, there = abroad
    here, name = rollout.own(workflow), workflow.cloud.role.alias
    workflow, moved = (within(each, "cloud.role", policies=policies) for each in (workflow, moved))
    rollout.apply(workflow)
    apply(moved, there)
    going, _ = destroy(moved, there)
    assert "access/role_alias" in going
    assert name not in there("iot").list_role_aliases()["roleAliases"]
    assert name in here("iot").list_role_aliases()["roleAliases"]
    assert rollout.plan(workflow).changes == ()
    apply(moved, there)
    going, staying = destroy(workflow, here)
    assert "access/role_alias" in going
    assert "access/role" in staying
    assert name not in here("iot").list_role_aliases()["roleAliases"]
    assert make_plan(desired_resources(moved), there).changes == ()


def test_a_role_alias_stays_for_another_workflow_of_its_region_only(rollout, workflow, abroad):
    moved, there = abroad
    other = another(moved)
    rollout.apply(workflow)
    apply(moved, there)
    apply(other, there)
    going, _ = destroy(workflow, rollout.own(workflow))
    assert "access/role_alias" in going
    _, staying = destroy(moved, there)
    assert staying["access/role_alias"].endswith(f"policies emflow-{other.metadata.name}@{ELSEWHERE}")


@pytest.mark.parametrize("policy", ["emflow-earlier", "of-a-person", "of-a-person@eu-west-1"])
def test_a_role_alias_stays_for_a_policy_that_names_no_region(rollout, workflow, client, policy):
    rollout.apply(workflow)
    statement = {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    client("iam").put_role_policy(RoleName=workflow.cloud.role.name, PolicyName=policy, PolicyDocument=document)
    _, staying = destroy(workflow, rollout.own(workflow))
    assert staying["access/role_alias"].endswith(f"policies {policy}")


def test_a_role_of_another_name_in_another_region_is_no_orphan(rollout, workflow, abroad, client):
    moved, there = abroad
    rollout.apply(workflow)
    before = on_role(client, workflow.cloud.role.name)
    renamed = within(moved, "cloud.role", name=f"{workflow.cloud.role.name}-eu")
    assert step(make_plan(desired_resources(renamed), there), "orphan/roles").observed is None
    apply(renamed, there)
    going, _ = destroy(renamed, there)
    assert "access/role" in going
    assert "orphan/roles" not in going
    assert on_role(client, workflow.cloud.role.name) == before


def test_managed_policies_that_both_regions_attached_stay_for_the_last(rollout, workflow, abroad, client):
    moved, there = abroad
    role = workflow.cloud.role.name
    rollout.apply(within(workflow, "cloud.role", policies="workshop"))
    attached = attached_to(client, role)
    moved = within(moved, "cloud.role", policies="workshop")
    apply(moved, there)
    destroy(within(workflow, "cloud.role", policies="workshop"), rollout.own(workflow))
    assert attached_to(client, role) == attached
    assert make_plan(desired_resources(moved), there).changes == ()


@pytest.fixture
def of_an_earlier_version(rollout, workflow, client):
    """What an earlier version left: no region in any tag or name. `policies` as in the workflow."""

    def make(policies="least-privilege"):
        made = within(workflow, "cloud.role", policies=policies)
        rollout.apply(made)
        iam, role, name = client("iam"), workflow.cloud.role.name, workflow.metadata.name
        buckets = workflow.cloud.buckets
        for bucket in (buckets.components.name, buckets.inference_results.name):
            tags = client("s3").get_bucket_tagging(Bucket=bucket)["TagSet"]
            tags = [tag for tag in tags if tag["Key"] != "emflow:region"]
            client("s3").put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
        iam.untag_role(RoleName=role, TagKeys=["emflow:region"])
        for policy in policies_on(role):
            document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
            iam.delete_role_policy(RoleName=role, PolicyName=policy)
            iam.put_role_policy(RoleName=role, PolicyName=f"emflow-{name}", PolicyDocument=json.dumps(document))
        noted = f"emflow:policies:{name}"
        for tag in iam.list_role_tags(RoleName=role)["Tags"]:
            if tag["Key"] == f"{noted}@{HERE}":
                iam.untag_role(RoleName=role, TagKeys=[tag["Key"]])
                iam.tag_role(RoleName=role, Tags=[{"Key": noted, "Value": tag["Value"]}])
        alias = client("iot").describe_role_alias(roleAlias=workflow.cloud.role.alias)["roleAliasDescription"]
        client("iot").untag_resource(resourceArn=alias["roleAliasArn"], tagKeys=["emflow:region"])
        return made

    def policies_on(role):
        return policies(client, role)

    return make


@pytest.mark.parametrize("kind", ["least-privilege", "workshop"])
def test_marks_of_an_earlier_version_count_in_their_region_and_get_it(
    rollout, workflow, of_an_earlier_version, client, kind
):
    made = of_an_earlier_version(kind)
    role, name = workflow.cloud.role.name, workflow.metadata.name
    attached = attached_to(client, role)
    rollout.apply(made)
    assert rollout.plan(made).changes == ()
    assert attached_to(client, role) == attached
    tags = on_role(client, role)["tags"]
    assert tags["emflow:region"] == HERE
    assert f"emflow-{name}" not in policies(client, role)
    assert f"emflow:policies:{name}" not in tags
    going, _ = destroy(made, rollout.own(workflow))
    assert {"access/role", "bucket/components"} <= set(going)


@pytest.mark.parametrize("kind", ["least-privilege", "workshop"])
def test_marks_of_an_earlier_version_are_removed_in_their_region(
    rollout, workflow, of_an_earlier_version, client, kind
):
    going, _ = destroy(of_an_earlier_version(kind), rollout.own(workflow))
    assert {"access/role", "access/permissions", "access/role_alias", "bucket/components"} <= set(going)


@pytest.mark.parametrize("kind", ["least-privilege", "workshop"])
def test_marks_of_an_earlier_version_are_no_other_regions(workflow, of_an_earlier_version, abroad, client, kind):
    of_an_earlier_version(kind)
    role, before = workflow.cloud.role.name, on_role(client, workflow.cloud.role.name)
    moved, there = abroad
    apply(moved, there)
    assert {key: on_role(client, role)[key] for key in before} == before
    _, staying = destroy(moved, there)
    assert "does not say in which region" in staying["access/role"]
    assert on_role(client, role) == before


def test_a_role_of_another_workflow_is_changed_with_permission_only(rollout, workflow, client):
    rollout.apply(workflow)
    other = within(workflow, "metadata", name=f"another-{workflow.metadata.name}")
    other = within(other, "cloud.role", credential_duration="2h", alias=f"{workflow.cloud.role.alias}-other")
    with pytest.raises(
        Exception, match=f"was made by workflow {workflow.metadata.name} in {HERE}, and differs in: sess"
    ):
        rollout.plan(other)
    rollout.plan(other, adopt={"access/role"})


CONDITION = {"StringEquals": {"aws:SourceAccount": "123456789012"}}


@pytest.mark.parametrize("services", [policy_documents.TRUSTED[:1], policy_documents.TRUSTED], ids=["one", "both"])
def test_trust_under_conditions_stays_the_only_trust(rollout, workflow, client, services):
    role = workflow.cloud.role.name
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": list(services)},
        "Action": "sts:AssumeRole",
        "Condition": CONDITION,
    }
    document = {"Version": "2012-10-17", "Statement": [statement]}
    client("iam").create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(document))
    assert f"{', '.join(services)} may assume it under conditions only" in rollout.plan(workflow).text()
    rollout.apply(workflow)
    trust = client("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    assert trust["Statement"][0] == statement
    assert set(policy_documents.trusted_by(trust)) == {*policy_documents.TRUSTED} - {*services}
