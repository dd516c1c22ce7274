"""Buckets and what lies in them: private, mended when somebody opened them, nobody else's changed or deleted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.httpsession import URLLib3Session

from emflow.engine.apply import apply_plan
from emflow.engine.clients import ATTEMPTS, Clients
from emflow.engine.destroy import plan_removal
from emflow.engine.plan import make_plan
from emflow.engine.resource import Action
from emflow.problems import Problem
from emflow.resources import desired_resources, removable_resources
from emflow.resources.s3.bucket import Bucket, versioning
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
    assert tags == {"emflow:workflow": workflow.metadata.name, "emflow:resource": BUCKET, "emflow:region": "us-east-1"}


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


def without_tags(params, **_):
    """For an endpoint that creates buckets as S3 did before it took tags in that call."""
    params["CreateBucketConfiguration"].pop("Tags")
    if not params["CreateBucketConfiguration"]:
        del params["CreateBucketConfiguration"]


@pytest.fixture
def forgetful(workflow):
    """Clients whose endpoint ignores the tags of a new bucket, and loses answers to CreateBucket as often as asked."""

    def make(*, lost=0, region=None):
        aws = workflow.aws if region is None else dataclasses.replace(workflow.aws, region=region)
        session = boto3.Session(region_name=aws.region)
        session.events.register("provide-client-params.s3.CreateBucket", without_tags)
        left, wire = [lost], URLLib3Session()

        def lose(request, **_):
            if not left[0]:
                return
            left[0] -= 1
            wire.send(request)
            raise ConnectionClosedError(endpoint_url=request.url)

        session.events.register("before-send.s3.CreateBucket", lose)
        return Clients(aws, session)

    return make


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
@pytest.mark.parametrize("lost", [0, 1, 2, ATTEMPTS])
def test_a_bucket_is_ours_though_its_endpoint_ignores_tags_and_loses_answers(forgetful, workflow, s3, lost, region):
    clients = forgetful(lost=lost, region=region)
    there = dataclasses.replace(workflow, aws=dataclasses.replace(workflow.aws, region=region))
    results, components = (each for each in desired_resources(there) if isinstance(each, Bucket))
    for wanted in (results, components):
        apply_plan(make_plan([wanted], clients), clients)
        tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=wanted.name)["TagSet"]}
        assert tags == wanted.ownership.tags()
        assert make_plan([wanted], clients).changes == ()
    removable = [each for each in removable_resources(there) if each.id in {results.id, components.id}]
    removal = plan_removal(removable, clients, delete_data=True)
    assert {each.id for each in removal.to_remove} == {results.id, components.id}


def test_a_bucket_without_tags_that_was_there_before_stays_foreign(forgetful, workflow, s3, bucket):
    s3.create_bucket(Bucket=bucket)
    with pytest.raises(Problem, match="was not made by this workflow"):
        make_plan(desired_resources(workflow)[:2], forgetful(lost=1))


@pytest.mark.parametrize("tags", [[], [{"Key": "owner", "Value": "somebody"}]])
def test_a_bucket_that_appears_while_ours_is_made_is_not_taken(forgetful, workflow, s3, bucket, tags, monkeypatch):
    """Another client of this account was faster: nothing of ours was sent before."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    clients = forgetful(region="eu-central-1")
    there = dataclasses.replace(workflow, aws=dataclasses.replace(workflow.aws, region="eu-central-1"))
    resource = desired_resources(there)[1]
    plan = make_plan([resource], clients)

    def be_faster(**_):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        if tags:
            s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})

    clients("s3").meta.events.register("before-call.s3.CreateBucket", be_faster)
    with pytest.raises(Problem):
        apply_plan(plan, clients)
    found = {} if not tags else s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    assert found == (tags or {})


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
