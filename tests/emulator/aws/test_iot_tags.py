"""Role aliases carry tags: those they were made with, and those put on later, until they are removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def tags(iot: Any, arn: str) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in iot.list_tags_for_resource(resourceArn=arn)["tags"]}


def test_a_role_alias_keeps_its_tags_until_it_goes(iot: Any, fresh: Callable[[str], str], role: str) -> None:
    name = fresh("alias")
    made = {"roleAlias": name, "roleArn": role}
    arn = iot.create_role_alias(**made, tags=[{"Key": "a", "Value": "1"}])["roleAliasArn"]
    assert tags(iot, arn) == {"a": "1"}
    iot.tag_resource(resourceArn=arn, tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "3"}])
    assert tags(iot, arn) == {"a": "3", "b": "2"}
    iot.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert tags(iot, arn) == {"b": "2"}
    iot.delete_role_alias(roleAlias=name)
    iot.create_role_alias(**made)
    assert tags(iot, arn) == {}
