"""A bucket is tagged by the request that makes it, as S3 does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError


def test_a_bucket_has_the_tags_that_it_was_made_with(client: Callable[[str], Any], fresh: Callable[[str], str]) -> None:
    s3, bucket = client("s3"), fresh("bucket")
    tags = [{"Key": "a", "Value": "1 & 2"}, {"Key": "b", "Value": "3"}]
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"Tags": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags


def test_a_bucket_made_without_tags_has_none(client: Callable[[str], Any], fresh: Callable[[str], str]) -> None:
    s3, bucket = client("s3"), fresh("bucket")
    s3.create_bucket(Bucket=bucket)
    with pytest.raises(ClientError, match="NoSuchTagSet"):
        s3.get_bucket_tagging(Bucket=bucket)
