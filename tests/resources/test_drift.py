"""Drift: what somebody changes by hand shows in the plan, field by field, and apply mends that and nothing else."""

from __future__ import annotations

import json

import pytest

from emflow.engine.resource import Action
from resources.conftest import within

OTHER_ROLE = "arn:aws:iam::123456789012:role/other"


class Hand:
    """Somebody at the console."""

    def __init__(self, client, workflow):
        self.client = client
        self.workflow = workflow
        self.results = workflow.cloud.buckets.inference_results.name
        self.role = workflow.cloud.role.name

    def deployment(self):
        target = f"arn:aws:iot:us-east-1:123456789012:thing/{self.workflow.cloud.deployment.target.thing}"
        greengrass = self.client("greengrassv2")
        (listed,) = greengrass.list_deployments(targetArn=target, historyFilter="LATEST_ONLY")["deployments"]
        return greengrass.get_deployment(deploymentId=listed["deploymentId"])

    def revise(self, change):
        """Make the target's next deployment as the console does: the latest one, changed, with its tags."""
        found = self.deployment()
        keys = ("targetArn", "deploymentName", "components", "deploymentPolicies", "tags")
        asked = {key: found[key] for key in keys if found.get(key)}
        change(asked)
        self.client("greengrassv2").create_deployment(**asked)


def s3(name, **arguments):
    return lambda hand: getattr(hand.client("s3"), name)(Bucket=hand.results, **arguments)


def policy_without_our_statement(hand):
    hand.client("s3").delete_bucket_policy(Bucket=hand.results)


def trust_for_one(hand):
    statement = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    hand.client("iam").update_assume_role_policy(RoleName=hand.role, PolicyDocument=document)


def a_wider_policy(hand):
    iam = hand.client("iam")
    (name,) = iam.list_role_policies(RoleName=hand.role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=hand.role, PolicyName=name)["PolicyDocument"]
    document["Statement"][0]["Action"].append("s3:*")
    iam.put_role_policy(RoleName=hand.role, PolicyName=name, PolicyDocument=json.dumps(document))


def no_policy(hand):
    iam = hand.client("iam")
    (name,) = iam.list_role_policies(RoleName=hand.role)["PolicyNames"]
    iam.delete_role_policy(RoleName=hand.role, PolicyName=name)


def alias(**arguments):
    return lambda hand: hand.client("iot").update_role_alias(roleAlias=hand.workflow.cloud.role.alias, **arguments)


def fleet(hand):
    sagemaker = hand.client("sagemaker")
    found = sagemaker.describe_device_fleet(DeviceFleetName=hand.workflow.cloud.fleet.name)
    sagemaker.update_device_fleet(
        DeviceFleetName=hand.workflow.cloud.fleet.name,
        RoleArn=found["RoleArn"],
        Description="mine",
        OutputConfig={"S3OutputLocation": "s3://elsewhere/captures", "KmsKeyId": "alias/mine"},
    )


def deregistered(hand):
    cloud = hand.workflow.cloud
    names = list(cloud.fleet.devices)
    hand.client("sagemaker").deregister_devices(DeviceFleetName=cloud.fleet.name, DeviceNames=names)


def overwritten(hand):
    bucket = hand.workflow.cloud.buckets.components.name
    (listed,) = hand.client("s3").list_objects_v2(Bucket=bucket, Prefix="models/uncompiled/")["Contents"]
    hand.client("s3").put_object(Bucket=bucket, Key=listed["Key"], Body=b"other", ChecksumAlgorithm="SHA256")


def untagged_model_component(hand):
    component = hand.workflow.cloud.package.component
    arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{component.name}:versions:{component.version}"
    hand.client("greengrassv2").untag_resource(resourceArn=arn, tagKeys=["emflow:workflow"])


def deleted_application(hand):
    name = hand.workflow.edge.component.name
    arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{name}:versions:1.0.0"
    hand.client("greengrassv2").delete_component(arn=arn)


def another_camera(hand):
    def change(asked):
        update = asked["components"][hand.workflow.edge.component.name]["configurationUpdate"]
        configuration = json.loads(update["merge"])
        configuration["streams"][0]["url"] = "rtsp://10.0.0.1/mine"
        update["merge"] = json.dumps(configuration)

    hand.revise(change)


def without_the_application(hand):
    hand.revise(lambda asked: asked["components"].pop(hand.workflow.edge.component.name))


def without_rollback(hand):
    hand.revise(lambda asked: asked["deploymentPolicies"].update(failureHandlingPolicy="DO_NOTHING"))


def tagged(key, value):
    def change(hand):
        hand.client("iam").tag_role(RoleName=hand.role, Tags=[{"Key": key, "Value": value}])

    return change


OPEN = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), False)
RESULTS = "bucket/inference_results"

BY_HAND = {
    "public access": (
        s3("put_public_access_block", PublicAccessBlockConfiguration=OPEN),
        RESULTS,
        "public_access.BlockPublicAcls: false → true",
    ),
    "ownership": (
        s3("put_bucket_ownership_controls", OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}),
        RESULTS,
        "ownership: ObjectWriter → BucketOwnerEnforced",
    ),
    "encryption": (s3("delete_bucket_encryption"), RESULTS, "encryption"),
    "TLS only": (policy_without_our_statement, RESULTS, "policy: (none) →"),
    "versioning": (
        s3("put_bucket_versioning", VersioningConfiguration={"Status": "Suspended"}),
        RESULTS,
        "versioning: Suspended → Enabled",
    ),
    "lifecycle": (s3("delete_bucket_lifecycle"), RESULTS, "lifecycle: +"),
    "trust": (trust_for_one, "access/role", "trust.Statement: +"),
    "a user's tag": (tagged("team", "other"), "access/role", "tags.team: other → vision"),
    "a wider policy": (a_wider_policy, "access/permissions", "- s3:*"),
    "no policy": (no_policy, "access/permissions", ""),
    "the alias's role": (alias(roleArn=OTHER_ROLE), "access/role_alias", f"role: {OTHER_ROLE} →"),
    "the alias's duration": (alias(credentialDurationSeconds=900), "access/role_alias", "seconds: 900 → 3600"),
    "the fleet's key": (fleet, "fleet/fleet", "kms_key: alias/mine → (none)"),
    "the fleet's location": (fleet, "fleet/fleet", "location: s3://elsewhere/captures →"),
    "the fleet's description": (fleet, "fleet/fleet", "description: mine →"),
    "a device": (deregistered, "fleet/devices", ""),
    "the model's archive": (overwritten, "model/artifact", "sha256:"),
    "the model component's tags": (untagged_model_component, "model/package", "tags.emflow:workflow: (none) →"),
    "the application": (deleted_application, "application/component", ""),
    "the deployment's configuration": (
        another_camera,
        "deployment/target",
        "rtsp://10.0.0.1/mine",
    ),
    "the deployment's components": (without_the_application, "deployment/target", "(none) → 1.0.0"),
    "the deployment's policies": (
        without_rollback,
        "deployment/target",
        "policies.failureHandlingPolicy: DO_NOTHING → ROLLBACK",
    ),
}


@pytest.fixture
def wanted(workflow):
    tagged = within(workflow, "aws", tags={"team": "vision"})
    return within(tagged, "cloud.buckets.inference_results", versioning=True, expire_captures="30d")


@pytest.mark.parametrize("what", BY_HAND)
def test_what_somebody_changed_is_shown_and_mended(rollout, wanted, client, what):
    change, resource, line = BY_HAND[what]
    rollout.apply(wanted)
    change(Hand(client, wanted))
    plan = rollout.plan(wanted)
    assert [step.resource.id for step in plan.steps if step.diff.action is not Action.NONE] == [resource]
    assert line in plan.text(), plan.text()
    rollout.apply(wanted)
    assert rollout.plan(wanted).changes == ()


def all_captures_expire(hand):
    rule = {"ID": "theirs", "Filter": {"Prefix": ""}, "Status": "Enabled", "Expiration": {"Days": 1}}
    s3("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": [rule]})(hand)


def public_to_one(hand):
    name = hand.results
    policy = json.loads(hand.client("s3").get_bucket_policy(Bucket=name)["Policy"])
    statement = {"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": OTHER_ROLE}, "Action": "s3:GetObject"}
    policy["Statement"].append({**statement, "Resource": f"arn:aws:s3:::{name}/*"})
    hand.client("s3").put_bucket_policy(Bucket=name, Policy=json.dumps(policy))


def another_key(hand):
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/theirs"}
    rules = [{"ApplyServerSideEncryptionByDefault": default}]
    s3("put_bucket_encryption", ServerSideEncryptionConfiguration={"Rules": rules})(hand)


def longer_sessions(hand):
    hand.client("iam").update_role(RoleName=hand.role, MaxSessionDuration=43200)


KEY_NOT_NAMED = (
    "encryption is aws:kms, not set by emflow, with the key alias/theirs; "
    "the workflow does not name it, and gives devices and jobs no right to use it"
)

LEFT_ALONE = {
    "a lifecycle rule": (
        all_captures_expire,
        RESULTS,
        "lifecycle rule theirs, not made by emflow, removes all objects after 1 d",
    ),
    "a policy": (
        public_to_one,
        RESULTS,
        f"policy statement Theirs, not made by emflow, allows s3:GetObject to {OTHER_ROLE}",
    ),
    "a key": (
        another_key,
        RESULTS,
        KEY_NOT_NAMED,
    ),
    "a session": (longer_sessions, "access/role", "its sessions may last 43200 s; the workflow needs 3600 s"),
}


@pytest.mark.parametrize("what", LEFT_ALONE)
def test_what_others_set_and_emflow_leaves_is_reported_by_every_plan(rollout, workflow, client, what):
    change, resource, line = LEFT_ALONE[what]
    rollout.apply(workflow)
    assert [note for step in rollout.plan(workflow).steps for note in step.diff.notes] == []
    change(Hand(client, workflow))
    plan = rollout.plan(workflow)
    assert plan.changes == ()
    assert {step.resource.id: step.diff.notes for step in plan.steps if step.diff.notes} == {resource: (line,)}
    assert line in plan.text()


def test_what_others_add_beside_ours_is_no_drift_and_stays(rollout, wanted, client):
    rollout.apply(wanted)
    s3, bucket = client("s3"), wanted.cloud.buckets.inference_results.name
    theirs = {"ID": "theirs", "Filter": {"Prefix": "logs/"}, "Status": "Enabled", "Expiration": {"Days": 7}}
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [theirs, *rules]})
    tagged("owner", "anna")(Hand(client, wanted))
    assert rollout.plan(wanted).changes == ()
    later = within(wanted, "cloud.buckets.inference_results", expire_captures="60d")
    rollout.apply(within(later, "aws", tags={"team": "vision", "site": "hall 3"}))
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert theirs in [{key: rule[key] for key in theirs} for rule in rules]
    assert [rule["Expiration"]["Days"] for rule in rules if rule["ID"] != "theirs"] == [60]
    tags = client("iam").list_role_tags(RoleName=wanted.cloud.role.name)["Tags"]
    assert {"Key": "owner", "Value": "anna"} in tags
    assert {"Key": "site", "Value": "hall 3"} in tags
