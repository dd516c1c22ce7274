"""Thing groups: the things of a group, with those of its child groups, and in pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def groups(iot: Any, fresh: Callable[[str], str]) -> dict[str, str]:
    """A group, its child and its grandchild, each with a thing of its own; the last thing is in the first group too."""
    names = [fresh("group") for _ in range(3)]
    for parent, name in zip([None, *names], names, strict=False):
        iot.create_thing_group(thingGroupName=name, **({"parentGroupName": parent} if parent else {}))
    made = {}
    for name in names:
        made[name] = fresh("core")
        iot.create_thing(thingName=made[name])
        iot.add_thing_to_thing_group(thingGroupName=name, thingName=made[name])
    iot.add_thing_to_thing_group(thingGroupName=names[0], thingName=made[names[2]])
    return made


def test_the_things_of_child_groups_are_listed_on_request(iot: Any, groups: dict[str, str]) -> None:
    parent, child, last = groups
    direct = iot.list_things_in_thing_group(thingGroupName=parent)["things"]
    assert sorted(direct) == sorted([groups[parent], groups[last]])
    everything = iot.list_things_in_thing_group(thingGroupName=parent, recursive=True)["things"]
    assert sorted(everything) == sorted(groups.values())
    assert iot.list_things_in_thing_group(thingGroupName=child, recursive=False)["things"] == [groups[child]]
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.list_things_in_thing_group(thingGroupName=f"{parent}-none", recursive=True)


def test_the_things_of_a_group_come_in_pages(iot: Any, groups: dict[str, str]) -> None:
    pages = iot.get_paginator("list_things_in_thing_group").paginate(
        thingGroupName=next(iter(groups)), recursive=True, PaginationConfig={"PageSize": 2}
    )
    assert [len(page["things"]) for page in pages] == [2, 1]


def test_the_job_of_a_deployment_reaches_the_things_of_child_groups(
    greengrass: Any, iot: Any, groups: dict[str, str]
) -> None:
    arn = iot.describe_thing_group(thingGroupName=next(iter(groups)))["thingGroupArn"]
    job = greengrass.create_deployment(targetArn=arn, components={})["iotJobId"]
    assert iot.describe_job(jobId=job)["job"]["jobProcessDetails"]["numberOfQueuedThings"] == len(groups)
