"""Buckets as the workflow makes them: a policy that denies plain HTTP does not close them to loopback."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError


def statement(bucket: str, effect: str, **more: object) -> dict[str, object]:
    return {"Effect": effect, "Principal": "*", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}/*"], **more}


PLAIN_HTTP = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}


def test_a_policy_that_denies_plain_http_lets_loopback_in_and_stays_as_it_was_put(
    client: Callable[[str], Any], fresh: Callable[[str], str]
) -> None:
    s3, bucket = client("s3"), fresh("bucket")
    s3.create_bucket(Bucket=bucket)
    policy = {"Version": "2012-10-17", "Statement": [statement(bucket, "Deny", **PLAIN_HTTP)]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == policy


def test_any_other_denial_still_denies(client: Callable[[str], Any], fresh: Callable[[str], str]) -> None:
    s3, bucket = client("s3"), fresh("bucket")
    s3.create_bucket(Bucket=bucket)
    denials = [statement(bucket, "Deny", **PLAIN_HTTP), statement(bucket, "Deny")]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": denials}))
    with pytest.raises(ClientError, match="Forbidden"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"1")
