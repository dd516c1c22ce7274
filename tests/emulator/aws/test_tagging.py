"""Finding things by their tags, across services, as a workflow's leftovers are found."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def find(client):
    tagging = client("resourcegroupstaggingapi")

    def found(key, *values, kinds=(), page=100):
        pages = tagging.get_paginator("get_resources").paginate(
            TagFilters=[{"Key": key, "Values": list(values)}], ResourceTypeFilters=list(kinds), ResourcesPerPage=page
        )
        listed = [each for page in pages for each in page["ResourceTagMappingList"]]
        return {each["ResourceARN"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]} for each in listed}

    return found


def test_a_bucket_is_found_by_the_tags_it_was_made_with_and_by_those_it_got_later(find, s3, fresh):
    name, key = fresh("tagged"), fresh("key")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"Tags": [{"Key": key, "Value": "a & <b>"}]})
    assert find(key) == {f"arn:aws:s3:::{name}": {key: "a & <b>"}}
    assert find(key, "another") == {}
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": key, "Value": "2"}, {"Key": "b", "Value": "3"}]})
    assert find(key, "1", "2") == {f"arn:aws:s3:::{name}": {key: "2", "b": "3"}}
    s3.delete_bucket_tagging(Bucket=name)
    assert find(key) == {}
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": key, "Value": "2"}]})
    s3.delete_bucket(Bucket=name)
    assert find(key) == {}


def test_only_the_asked_services_and_kinds_are_reported_page_by_page(find, iot, greengrass, s3, fresh):
    key = fresh("key")
    for number in range(3):
        thing = fresh("thing")
        iot.create_thing(thingName=thing)
        greengrass.create_deployment(
            targetArn=f"arn:aws:iot:us-east-1:123456789012:thing/{thing}", tags={key: str(number)}
        )
    name = fresh("tagged")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"Tags": [{"Key": key, "Value": "1"}]})
    assert len(find(key, page=1)) == 4
    assert len(find(key, kinds=["greengrass"])) == 3
    assert len(find(key, kinds=["greengrass:deployments"])) == 3
    assert find(key, kinds=["greengrass:components", "sagemaker"]) == {}
    assert list(find(key, "1", kinds=["s3"])) == [f"arn:aws:s3:::{name}"]


def test_a_token_of_another_question_is_refused(client):
    tagging = client("resourcegroupstaggingapi")
    with pytest.raises(ClientError) as refused:
        tagging.get_resources(PaginationToken="nonsense")
    assert refused.value.response["Error"]["Code"] == "PaginationTokenExpiredException"
