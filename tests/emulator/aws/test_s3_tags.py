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


def test_buckets_are_found_by_their_tags_in_their_own_region(
    client: Callable[..., Any], fresh: Callable[[str], str]
) -> None:
    name, tag = fresh("bucket"), {"Key": "found-by", "Value": fresh("tag")}
    place = {"LocationConstraint": "eu-west-1", "Tags": [tag]}
    client("s3", region="eu-west-1").create_bucket(Bucket=name, CreateBucketConfiguration=place)

    def found(region: str) -> list[str]:
        filters = [{"Key": tag["Key"], "Values": [tag["Value"]]}]
        answer = client("resourcegroupstaggingapi", region=region).get_resources(TagFilters=filters)
        return [each["ResourceARN"] for each in answer["ResourceTagMappingList"]]

    assert found("eu-west-1") == [f"arn:aws:s3:::{name}"]
    assert found("us-east-1") == []


def test_a_bucket_of_another_account_than_expected_is_refused(
    client: Callable[..., Any], fresh: Callable[[str], str]
) -> None:
    s3, bucket, wrong = client("s3"), fresh("bucket"), "210987654321"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a", Body=b"1", ExpectedBucketOwner="123456789012")
    source = {"Bucket": bucket, "Key": "a"}
    for call in (
        lambda: s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=wrong),
        lambda: s3.get_object(Bucket=bucket, Key="a", ExpectedBucketOwner=wrong),
        lambda: s3.copy_object(Bucket=bucket, Key="b", CopySource=source, ExpectedSourceBucketOwner=wrong),
    ):
        with pytest.raises(ClientError) as refused:
            call()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket=fresh("none"), ExpectedBucketOwner=wrong)
