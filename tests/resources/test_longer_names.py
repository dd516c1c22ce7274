"""Two workflows, of which every name of one begins with the other's: neither takes the other's things for its own."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from emflow.resources.status import read_status
from emflow.workflow.model import Target
from resources.conftest import within
from resources.test_destroy import destroy

SOURCES = Path(__file__).parents[2] / "runner" / "emflow"


def longer(workflow: Any, client: Any, end: str, *, shared_buckets: bool = False) -> Any:
    """The same workflow with `end` behind every name, in the form that names of jobs have behind them, too."""
    cloud, name = workflow.cloud, workflow.metadata.name
    thing, group = f"{cloud.deployment.target.thing}{end}", f"{name}-group{end}"
    client("iot").create_thing(thingName=thing)
    client("iot").create_thing_group(thingGroupName=group)
    client("iot").add_thing_to_thing_group(thingGroupName=group, thingName=thing)
    changed: dict[str, dict[str, Any]] = {
        "metadata": {"name": f"{name}{end}"},
        "cloud.role": {"name": f"{cloud.role.name}{end}", "alias": f"{cloud.role.alias}{end}"},
        "cloud.fleet": {"name": f"{cloud.fleet.name}{end}", "devices": (thing,)},
        "cloud.compile": {"job": f"{cloud.compile.job}{end}"},
        "cloud.package": {"job": f"{cloud.package.job}{end}"},
        "cloud.package.component": {"name": f"{cloud.package.component.name}{end}"},
        "cloud.deployment": {"target": Target(thing_group=group)},
        "edge.component": {"name": f"{workflow.edge.component.name}{end}"},
    }
    if not shared_buckets:
        for part in ("components", "inference_results"):
            changed[f"cloud.buckets.{part}"] = {"name": f"{getattr(cloud.buckets, part).name}{end}"}
    for path, values in changed.items():
        workflow = within(workflow, path, **values)
    return workflow


@pytest.mark.parametrize("shared_buckets", [False, True], ids=["own buckets", "shared buckets"])
@pytest.mark.parametrize("end", ["-2", "0", "-deadbeef", "-deadbeef-2"])
def test_a_workflow_with_shorter_names_sees_and_removes_its_own_only(rollout, workflow, client, end, shared_buckets):
    short = within(workflow, "cloud.deployment", target=Target(thing_group=f"{workflow.metadata.name}-group"))
    client("iot").create_thing_group(thingGroupName=f"{workflow.metadata.name}-group")
    rollout.apply(short)
    other = longer(workflow, client, end, shared_buckets=shared_buckets)
    rollout.apply(other)
    assert rollout.plan(short).changes == ()
    status = read_status(short, rollout.own(short))
    assert [job.name for job in status.jobs] == [short.cloud.compile.job, short.cloud.package.job]
    assert status.devices == ()
    assert [job.name for job in read_status(other, rollout.own(other)).jobs] == [
        other.cloud.compile.job,
        other.cloud.package.job,
    ]
    kept = set(destroy(rollout, short, delete_data=True)[1])
    assert kept == ({"bucket/components", "bucket/inference_results"} & kept)
    assert bool(kept) is shared_buckets
    again = rollout.plan(other)
    assert again.changes == (), again.text()
    assert {device.thing for device in read_status(other, rollout.own(other)).devices} == {
        f"{workflow.cloud.deployment.target.thing}{end}"
    }


def test_untagged_versions_are_the_workflows_under_many_jobs_with_longer_names(rollout, workflow, client):
    rollout.apply(workflow)
    cloud = workflow.cloud
    arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{cloud.package.component.name}:versions:1.0.0"
    for number in range(25):
        client("sagemaker").create_edge_packaging_job(
            EdgePackagingJobName=f"{cloud.package.job}-of-a-person-{number}",
            CompilationJobName=cloud.compile.job,
            ModelName="m",
            ModelVersion="1",
            RoleArn=f"arn:aws:iam::123456789012:role/{cloud.role.name}",
            OutputConfig={"S3OutputLocation": f"s3://{cloud.buckets.components.name}/by-hand"},
        )
    greengrass = client("greengrassv2")
    greengrass.untag_resource(resourceArn=arn, tagKeys=list(greengrass.list_tags_for_resource(resourceArn=arn)["tags"]))
    going, _ = destroy(rollout, workflow)
    assert "model/package" in going  # by its own job, which is not among the newest of those that are listed


PREFIXES = {
    "engine/saved_plan.py": "formats of plans, which end with their version",
    "resources/greengrass/component_queries.py": "the scheme of an address",
    "resources/greengrass/published.py": "schemes of addresses, and the beginning of a digest",
    "resources/greengrass/revision.py": "JSON pointers, of which the other ends with a slash",
    "resources/iam/policies_of_others.py": "names that emflow gives to policies of any workflow",
    "resources/iam/shared_role.py": "keys that emflow gives to notes of any workflow; the whole rest is compared",
    "resources/greengrass/component_version.py": "the scheme of an address",
    "resources/s3/bucket_settings.py": "names that emflow gives to rules of any workflow",
    "resources/s3/bucket_users.py": "names that emflow gives to rules of any workflow; the whole name is compared",
    "resources/sagemaker/fleet.py": "a word of emflow's own before the name of a fleet, which the rest is as a whole",
    "engine/errors.py": "names of AWS's operations",
}
"""Modules that ask whether a name begins with something, and why that tells no workflow from another."""


def test_every_comparison_with_the_beginning_of_a_name_is_known() -> None:
    found = set()
    for folder in ("engine", "resources"):
        for path in sorted((SOURCES / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr == "startswith":
                    found.add(path.relative_to(SOURCES).as_posix())
    assert found == PREFIXES.keys()
