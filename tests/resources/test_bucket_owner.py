"""Names of buckets are global: one of another account is never taken for the workflow's, whatever its tags say."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from emflow.engine.clients import Clients
from emflow.problems import Problem
from emflow.resources.s3.captures import CaptureBucket
from emflow.resources.s3.lock_store import lock_of
from resources.test_destroy import destroy

ACCOUNT, ANOTHER = "123456789012", "210987654321"


def backend() -> Any:
    """S3 of the other account."""
    from moto.s3.models import s3_backends

    return s3_backends[ANOTHER]["aws"]


@pytest.fixture
def foreign():
    """A bucket of another account that anybody may use, with the workflow's own tags; what has been put into it."""
    from moto.s3.models import s3_backends

    def make(name: str, tags: dict[str, str]) -> Any:
        bucket = backend().create_bucket(name, "us-east-1")
        backend().put_bucket_tagging(name, tags)
        bucket.policy = json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*"}]}
        ).encode()
        made.append(name)
        return bucket

    made: list[str] = []
    yield make
    for name in made:
        backend().buckets.pop(name)
        s3_backends.bucket_accounts.pop(name)


@pytest.mark.parametrize("bucket", ["components", "inference_results"])
def test_a_bucket_of_another_account_with_our_tags_is_not_ours(rollout, workflow, foreign, bucket):
    name = getattr(workflow.cloud.buckets, bucket).name
    tags = {"emflow:workflow": workflow.metadata.name, "emflow:resource": f"bucket/{bucket}"}
    theirs = foreign(name, tags)
    before = theirs.policy, backend().get_bucket_tagging(name)
    for adopt in ((), {f"bucket/{bucket}"}):
        with pytest.raises(Problem, match=f"bucket {name} belongs to another AWS account"):
            rollout.apply(workflow, adopt=adopt)
    going, staying = destroy(rollout, workflow, delete_data=True)
    assert going == []
    assert staying[f"bucket/{bucket}"] == "it belongs to another AWS account, or may not be read"
    assert (theirs.policy, backend().get_bucket_tagging(name)) == before
    assert len(theirs.keys) == 0


def test_a_bucket_that_another_account_took_gets_neither_lock_nor_reader(rollout, workflow, foreign):
    name = workflow.cloud.buckets.components.name
    theirs = foreign(name, {})
    clients = rollout.own(workflow)
    with pytest.raises(Problem, match=r"403|AccessDenied|Access Denied"), lock_of(workflow, clients) as lock:
        lock.acquire()
    with pytest.raises(Problem, match=r"AccessDenied|Access Denied"):
        CaptureBucket(clients("s3"), name).children("")
    assert len(theirs.keys) == 0


def test_every_call_about_a_bucket_names_the_account(rollout, workflow, endpoint):
    session = boto3.Session(region_name=workflow.aws.region)
    seen: dict[str, set[str | None]] = {}

    def note(params: Any, model: Any, **_: Any) -> None:
        seen.setdefault(model.name, set()).add(params["headers"].get("x-amz-expected-bucket-owner"))

    session.events.register("before-call.s3", note)
    rollout_of = type(rollout)()
    rollout_of._own = Clients(workflow.aws, session)
    rollout_of.apply(workflow)
    destroy(rollout_of, workflow, delete_data=True)
    assert seen.pop("CreateBucket") == {None}
    assert {"HeadBucket", "PutObject", "HeadObject", "DeleteBucket", "DeleteObjects", "PutBucketPolicy"} <= seen.keys()
    assert {owner for owners in seen.values() for owner in owners} == {ACCOUNT}
