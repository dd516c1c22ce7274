"""Buckets and what lies in them: private, mended when somebody opened them, nobody else's changed or deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ReadTimeoutError

from emflow.engine.apply import apply_plan
from emflow.engine.plan import make_plan
from emflow.engine.resource import Action
from emflow.problems import Problem
from emflow.resources import desired_resources
from emflow.resources.s3.bucket import versioning
from emflow.workflow.model import Encryption
from resources.conftest import another, within

BUCKET = "bucket/components"


def step(plan, resource=BUCKET):
    return next(step for step in plan.steps if step.resource.id == resource)


@pytest.fixture
def s3(client):
    return client("s3")


@pytest.fixture
def bucket(workflow):
    return workflow.cloud.buckets.components.name


def test_a_bucket_is_private_encrypted_owned_and_takes_no_plain_http(rollout, workflow, s3, bucket):
    rollout.apply(workflow)
    blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert set(blocked.values()) == {True}
    assert len(blocked) == 4
    (rule,) = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert rule["ObjectOwnership"] == "BucketOwnerEnforced"
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}
    assert tags == {"emflow:workflow": workflow.metadata.name, "emflow:resource": BUCKET}


def test_a_bucket_is_ours_from_the_call_on_that_makes_it(rollout, workflow, s3, bucket):
    class Killed(BaseException):
        pass

    clients = rollout.clients(workflow)

    def kill(**_):
        raise Killed

    clients("s3").meta.events.register("after-call.s3.CreateBucket", kill)
    resource = step(rollout.plan(workflow)).resource
    with pytest.raises(Killed):
        resource.apply(clients, resource.diff(None, None), None, None)
    rollout.apply(workflow)
    assert "s3:PutBucketTagging" not in rollout.calls
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}
    assert tags["emflow:workflow"] == workflow.metadata.name


def test_a_bucket_whose_creation_was_not_answered_is_found(rollout, workflow):
    clients = rollout.clients(workflow)

    def lose(**_):
        raise ReadTimeoutError(endpoint_url="https://aws.example")

    clients("s3").meta.events.register("after-call.s3.CreateBucket", lose)
    apply_plan(make_plan(desired_resources(workflow)[:2], clients), clients)
    assert rollout.calls.count("s3:CreateBucket") == 2


def test_a_users_kms_key_encrypts_stored_objects_and_outputs_of_jobs_and_fleet(rollout, workflow, s3, client, bucket):
    key = client("kms").create_key()["KeyMetadata"]["Arn"]
    keyed = workflow
    for part in ("components", "inference_results"):
        keyed = within(keyed, f"cloud.buckets.{part}", encryption=Encryption(kms_key=key))
    rollout.apply(keyed)
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    assert rule["BucketKeyEnabled"]
    sagemaker, cloud = client("sagemaker"), workflow.cloud
    assert (
        sagemaker.describe_device_fleet(DeviceFleetName=cloud.fleet.name)["OutputConfig"]["KmsKeyId"]
        == sagemaker.describe_compilation_job(CompilationJobName=cloud.compile.job)["OutputConfig"]["KmsKeyId"]
        == sagemaker.describe_edge_packaging_job(EdgePackagingJobName=cloud.package.job)["OutputConfig"]["KmsKeyId"]
        == key
    )
    assert rollout.plan(keyed).changes == ()


def test_captures_expire_under_their_own_prefix_until_the_workflow_says_otherwise(rollout, workflow, s3):
    name = workflow.cloud.buckets.inference_results.name
    expiring = within(workflow, "cloud.buckets.inference_results", expire_captures="30d")
    rollout.apply(expiring)
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert rule["Filter"] == {"Prefix": f"sme-capture/{workflow.cloud.fleet.name}/"}
    assert rule["Expiration"] == {"Days": 30}
    assert rollout.plan(expiring).changes == ()
    rollout.apply(workflow)
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket=name)


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        (None, None, None),
        ("Enabled", None, "Enabled"),
        (None, True, "Enabled"),
        ("Suspended", True, "Enabled"),
        ("Enabled", False, "Suspended"),
        (None, False, None),
    ],
)
def test_versioning_is_on_suspended_or_as_it_is(have, want, expected):
    assert versioning(have, want) == expected


def test_a_bucket_that_somebody_opened_is_closed_again_and_only_that(rollout, workflow, s3, bucket):
    rollout.apply(workflow)
    s3.delete_public_access_block(Bucket=bucket)
    plan = rollout.plan(workflow)
    assert [change.field for change in step(plan).diff.changes] == ["public_access"]
    assert "~ bucket/components" in plan.text()
    rollout.apply(workflow)
    assert rollout.changing_calls == ["s3:PutPublicAccessBlock"]
    assert rollout.plan(workflow).changes == ()


def test_what_others_put_into_the_bucket_policy_stays(rollout, workflow, s3, bucket):
    rollout.apply(workflow)
    theirs = {
        "Sid": "Theirs",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [theirs]}))
    rollout.apply(workflow)
    statements = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert theirs in statements
    assert [statement["Sid"] for statement in statements] == ["Theirs", "TlsOnly"]


def test_stricter_encryption_than_ours_is_no_difference(rollout, workflow, s3, bucket):
    rollout.apply(workflow)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    assert rollout.plan(workflow).changes == ()


def test_somebody_elses_bucket_is_not_changed_without_the_users_word(rollout, workflow, s3, bucket):
    s3.create_bucket(Bucket=bucket)
    with pytest.raises(Problem, match="was not made by this workflow") as refused:
        rollout.plan(workflow)
    assert f"--adopt {BUCKET}" in refused.value.mend
    rollout.apply(workflow, adopt={BUCKET})
    assert rollout.plan(workflow).changes == ()
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchTagSet"):
        s3.get_bucket_tagging(Bucket=bucket)  # never marked as ours, so never deleted


def test_somebody_elses_bucket_that_is_as_it_should_be_is_used(rollout, workflow):
    rollout.apply(workflow)
    other = another(workflow)
    assert step(rollout.plan(other)).diff.action is Action.NONE


def test_only_what_can_be_adopted_may_be_named(rollout, workflow):
    with pytest.raises(Problem, match="nothing called bucket/other can be adopted") as refused:
        rollout.plan(workflow, adopt={"bucket/other"})
    assert refused.value.exit_code == 2


def test_the_model_lies_under_its_digest_and_is_not_uploaded_twice(rollout, workflow, s3, bucket):
    rollout.apply(workflow)
    (listed,) = s3.list_objects_v2(Bucket=bucket, Prefix="models/uncompiled/")["Contents"]
    found = s3.head_object(Bucket=bucket, Key=listed["Key"], ChecksumMode="ENABLED")
    assert found["ChecksumSHA256"]
    assert len(listed["Key"].split("/")[2]) == 64
    rollout.apply(workflow)
    assert "s3:PutObject" not in rollout.calls


def test_an_object_whose_bytes_somebody_changed_is_mended(rollout, workflow, s3, bucket):
    rollout.apply(workflow)
    (listed,) = s3.list_objects_v2(Bucket=bucket, Prefix="models/uncompiled/")["Contents"]
    before = s3.get_object(Bucket=bucket, Key=listed["Key"])["Body"].read()
    s3.put_object(Bucket=bucket, Key=listed["Key"], Body=b"other", ChecksumAlgorithm="SHA256")
    rollout.apply(workflow)
    assert s3.get_object(Bucket=bucket, Key=listed["Key"])["Body"].read() == before


def test_a_bucket_policy_of_one_statement_without_brackets_keeps_it(rollout, workflow, s3, bucket):
    s3.create_bucket(Bucket=bucket)
    theirs = {
        "Sid": "Theirs",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": theirs}))
    rollout.apply(workflow, adopt={BUCKET})
    statements = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert [statement["Sid"] for statement in statements] == ["Theirs", "TlsOnly"]
    assert rollout.plan(workflow).changes == ()


def test_a_model_whose_name_is_no_address_is_stored_under_a_safe_name_and_compiled(rollout, workflow, s3, bucket):
    odd = Path(workflow.folder, "sc#1 ?a.tflite")
    Path(workflow.folder, workflow.cloud.model.artifact).rename(odd)
    named = within(workflow, "cloud.model", artifact=odd.name)
    rollout.apply(named)
    (listed,) = s3.list_objects_v2(Bucket=bucket, Prefix="models/uncompiled/")["Contents"]
    assert listed["Key"].endswith("/sc_1__a.tar.gz")
    assert rollout.plan(named).changes == ()
