"""A bucket or a fleet that others use, or may use, outlives the workflow that made it, also with --delete-data."""

from __future__ import annotations

import pytest

from emflow.workflow.model import Target
from resources.conftest import another, within
from resources.test_destroy import destroy, gone


@pytest.fixture
def guest(rollout, workflow, client):
    """Another workflow that uses buckets, fleet and role of the first, and has component names of its own."""

    def make(policies="least-privilege", on_same_device=False):
        rollout.apply(workflow)
        other, name = another(workflow), f"guest-{workflow.metadata.name}"
        cloud = other.cloud
        for path, values in {
            "cloud.role": {"policies": policies},
            "cloud.compile": {"job": f"{cloud.compile.job}-2"},
            "cloud.package": {"job": f"{cloud.package.job}-2"},
            "cloud.package.component": {"name": f"{cloud.package.component.name}-2"},
            "edge.component": {"name": f"{other.edge.component.name}-2"},
        }.items():
            other = within(other, path, **values)
        if not on_same_device:
            client("iot").create_thing(thingName=name)
            other = within(other, "cloud.deployment", target=Target(thing=name))
            other = within(other, "cloud.fleet", devices=(name,))
        rollout.apply(other)
        return other

    return make


@pytest.mark.parametrize("on_same_device", [True, False], ids=["the same device", "another device"])
@pytest.mark.parametrize("policies", ["least-privilege", "workshop"])
def test_buckets_and_fleet_stay_as_long_as_another_workflow_uses_them(
    rollout, workflow, client, guest, policies, on_same_device
):
    other = guest(policies, on_same_device)
    before = {bucket: _keys(client, bucket) for bucket in _buckets(workflow)}
    going, staying = destroy(rollout, workflow, delete_data=True)
    assert {"fleet/fleet", "bucket/components", "bucket/inference_results"} <= staying.keys()
    assert not {"fleet/fleet", "bucket/components", "bucket/inference_results"} & set(going)
    client("sagemaker").describe_device_fleet(DeviceFleetName=workflow.cloud.fleet.name)
    assert {bucket: _keys(client, bucket) for bucket in _buckets(workflow)} == before
    destroy(rollout, other, delete_data=True)
    assert {bucket: client("s3").head_bucket(Bucket=bucket) for bucket in _buckets(workflow)}


def _buckets(workflow):
    return [workflow.cloud.buckets.components.name, workflow.cloud.buckets.inference_results.name]


def _keys(client, bucket):
    return [each["Key"] for each in client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]


FOREIGN = {
    "captures of another fleet": ("inference_results", "sme-capture/another-fleet/m/2026/01/01/00/a.jsonl", {}),
    "an object of a person": ("inference_results", "notes.txt", {}),
    "a bundle of another workflow": ("components", "artifacts/x/y.zip", {"emflow-workflow": "another"}),
    "the lock of another workflow": ("components", "emflow/locks/another.json", {}),
    "what an unknown job wrote": ("components", "models/packaged/nobodys/a.tar.gz", {}),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_bucket_with_something_that_is_not_the_workflows_stays_and_names_it(rollout, workflow, client, what):
    rollout.apply(workflow)
    kind, key, metadata = FOREIGN[what]
    bucket = getattr(workflow.cloud.buckets, kind).name
    client("s3").put_object(Bucket=bucket, Key=key, Body=b"1", Metadata=metadata)
    going, staying = destroy(rollout, workflow, delete_data=True)
    assert f"bucket/{kind}" not in going
    assert "others may use it" in staying[f"bucket/{kind}"]
    assert any(part in staying[f"bucket/{kind}"] for part in (key, "models/packaged/nobodys/"))
    client("s3").head_object(Bucket=bucket, Key=key)
    client("s3").delete_object(Bucket=bucket, Key=key)
    going, _ = destroy(rollout, workflow, delete_data=True)
    assert f"bucket/{kind}" in going
    assert gone(client("s3").head_bucket, Bucket=bucket)


def test_old_versions_and_rules_of_others_count_too(rollout, workflow, client):
    versioned = within(workflow, "cloud.buckets.inference_results", versioning=True)
    rollout.apply(versioned)
    s3, bucket = client("s3"), workflow.cloud.buckets.inference_results.name
    s3.put_object(Bucket=bucket, Key="theirs.txt", Body=b"1")
    s3.delete_object(Bucket=bucket, Key="theirs.txt")
    rule = {"ID": "emflow-captures-another", "Filter": {"Prefix": "x/"}, "Status": "Enabled", "Expiration": {"Days": 9}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    _, staying = destroy(rollout, versioned, delete_data=True)
    assert "theirs.txt" in staying["bucket/inference_results"]
    assert "lifecycle rule emflow-captures-another" in staying["bucket/inference_results"]


def test_an_earlier_bucket_that_others_use_stays(rollout, workflow, client):
    rollout.apply(workflow)
    old = workflow.cloud.buckets.inference_results.name
    client("s3").put_object(Bucket=old, Key="notes.txt", Body=b"1")
    renamed = within(workflow, "cloud.buckets.inference_results", name=f"{old}-2")
    rollout.apply(renamed)
    destroy(rollout, renamed, delete_data=True)
    client("s3").head_object(Bucket=old, Key="notes.txt")
