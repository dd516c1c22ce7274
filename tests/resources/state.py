"""Everything that the embedded AWS holds, as one comparable value.

Names, digests, identities and times differ from one workflow of a test to the next, and mean nothing; so they are put
into one form, in the order in which they appear.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

Client = Callable[[str], Any]
Facts = dict[str, Any]

TIMES = frozenset({"creationTimestamp", "created", "timestamp", "CreateDate", "LastModified", "Date", "RoleLastUsed"})
SIGNED = re.compile(r"/(compiled|packaged)/")
"""Where jobs write: what they make is signed or dated, so its bytes are others each time."""


def names(client: Client) -> set[tuple[str, str]]:
    """The kind and the name of all that is there: only lists, so it costs the same however much that is."""
    return {(kind, name) for kind, (listed, _) in KINDS.items() for name in listed(client)}


def since(client: Client, before: set[tuple[str, str]], number: str) -> Facts:
    """All that has come since, for a workflow whose names have `number` in them; and what has gone."""
    now = names(client)
    facts: Facts = {f"{kind}/{name}": None for kind, name in before - now}
    for kind, name in now - before:
        facts[f"{kind}/{name}"] = _untimed(KINDS[kind][1](client, name))
    text = json.dumps(facts, sort_keys=True).replace(number, "N")
    seen: dict[str, str] = {}
    return json.loads(
        re.sub(
            r"\b(?:[0-9a-f]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b",
            lambda match: seen.setdefault(match[0], f"<{len(seen) + 1}>"),
            text,
        )
    )


def difference(left: Facts, right: Facts) -> Facts:
    """What is only in one of them, or differs: name → (left, right)."""
    absent = "not there"
    pairs = {name: (left.get(name, absent), right.get(name, absent)) for name in sorted({*left, *right})}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _bucket(client: Client, name: str) -> Facts:
    s3 = client("s3")
    objects = [
        each for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name) for each in page.get("Contents", [])
    ]
    return {
        "tags": _or_none(lambda: _by_key(s3.get_bucket_tagging(Bucket=name)["TagSet"])),
        "public": _or_none(lambda: s3.get_public_access_block(Bucket=name)),
        "ownership": _or_none(lambda: s3.get_bucket_ownership_controls(Bucket=name)),
        "encryption": _or_none(lambda: s3.get_bucket_encryption(Bucket=name)),
        "policy": _or_none(lambda: json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])),
        "versioning": _or_none(lambda: s3.get_bucket_versioning(Bucket=name)),
        "lifecycle": _or_none(lambda: s3.get_bucket_lifecycle_configuration(Bucket=name)),
        "objects": {each["Key"]: None if SIGNED.search(each["Key"]) else each["Size"] for each in objects},
    }


def _role(client: Client, name: str) -> Facts:
    iam = client("iam")
    role = iam.get_role(RoleName=name)["Role"]
    inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    return {
        **{key: value for key, value in role.items() if key not in {"RoleId", "Tags"}},
        "tags": _by_key(role.get("Tags", [])),
        "inline": {each: iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in inline},
        "attached": sorted(each["PolicyArn"] for each in attached),
    }


def _alias(client: Client, name: str) -> Facts:
    iot = client("iot")
    found = iot.describe_role_alias(roleAlias=name)["roleAliasDescription"]
    return {**found, "tags": _by_key(iot.list_tags_for_resource(resourceArn=found["roleAliasArn"])["tags"])}


def _fleet(client: Client, name: str) -> Facts:
    sagemaker = client("sagemaker")
    found = sagemaker.describe_device_fleet(DeviceFleetName=name)
    pages = sagemaker.get_paginator("list_devices").paginate(DeviceFleetName=name)
    devices = [device for page in pages for device in page["DeviceSummaries"]]
    return {
        **_tagged(sagemaker, found, "DeviceFleetArn"),
        "devices": [_tagged(sagemaker, device, "DeviceArn") for device in devices],
    }


def _compilation(client: Client, name: str) -> Facts:
    sagemaker = client("sagemaker")
    found = sagemaker.describe_compilation_job(CompilationJobName=name)
    found.pop("ModelDigests", None)
    return _tagged(sagemaker, found, "CompilationJobArn")


def _packaging(client: Client, name: str) -> Facts:
    sagemaker = client("sagemaker")
    found = sagemaker.describe_edge_packaging_job(EdgePackagingJobName=name)
    found.pop("ModelSignature", None)
    return _tagged(sagemaker, found, "EdgePackagingJobArn")


def _component(client: Client, arn: str) -> Facts:
    greengrass = client("greengrassv2")
    found: Facts = {}
    for version in greengrass.list_component_versions(arn=arn)["componentVersions"]:
        recipe = greengrass.get_component(arn=version["arn"], recipeOutputFormat="JSON")["recipe"].decode()
        plain = re.sub(r'"Digest": ?"[^"]*"', '"Digest": ""', recipe)  # of an archive that is signed
        described = _body(greengrass.describe_component(arn=version["arn"]))
        found[version["componentVersion"]] = {**described, "recipe": json.loads(plain)}
    return found


def _paged(client: Any, call: str, listed: str, name: str, **arguments: str) -> Iterable[str]:
    return [each[name] for page in client.get_paginator(call).paginate(**arguments) for each in page[listed]]


def _tagged(sagemaker: Any, found: Facts, arn: str) -> Facts:
    return {**_body(found), "tags": _by_key(sagemaker.list_tags(ResourceArn=found[arn])["Tags"])}


def _by_key(tags: Any) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in tags}


def _or_none(read: Callable[[], Any]) -> Any:
    try:
        return _body(read())
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def _body(answer: Facts) -> Facts:
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _untimed(v) for k, v in value.items() if not isinstance(v, datetime) and k not in TIMES}
    return [_untimed(each) for each in value] if isinstance(value, list) else value


def _deployments(client: Client) -> list[str]:
    """Target and revision before the identity, so that their order is the same each time."""
    pages = client("greengrassv2").get_paginator("list_deployments").paginate(historyFilter="ALL")
    listed = [each for page in pages for each in page["deployments"]]
    return [f"{each['targetArn']} {int(each['revisionId']):04} {each['deploymentId']}" for each in listed]


Listed = Callable[[Client], Iterable[str]]
Described = Callable[[Client, str], Facts]

KINDS: dict[str, tuple[Listed, Described]] = {
    "bucket": (lambda client: [each["Name"] for each in client("s3").list_buckets()["Buckets"]], _bucket),
    "role": (lambda client: _paged(client("iam"), "list_roles", "Roles", "RoleName"), _role),
    "alias": (lambda client: client("iot").list_role_aliases()["roleAliases"], _alias),
    "thing": (
        lambda client: _paged(client("iot"), "list_things", "things", "thingName"),
        lambda client, name: _body(client("iot").describe_thing(thingName=name)),
    ),
    "group": (
        lambda client: _paged(client("iot"), "list_thing_groups", "thingGroups", "groupName"),
        lambda client, name: {"things": client("iot").list_things_in_thing_group(thingGroupName=name)["things"]},
    ),
    "fleet": (
        lambda client: _paged(client("sagemaker"), "list_device_fleets", "DeviceFleetSummaries", "DeviceFleetName"),
        _fleet,
    ),
    "compilation": (
        lambda client: _paged(
            client("sagemaker"), "list_compilation_jobs", "CompilationJobSummaries", "CompilationJobName"
        ),
        _compilation,
    ),
    "packaging": (
        lambda client: _paged(
            client("sagemaker"), "list_edge_packaging_jobs", "EdgePackagingJobSummaries", "EdgePackagingJobName"
        ),
        _packaging,
    ),
    "component": (
        lambda client: _paged(client("greengrassv2"), "list_components", "components", "arn", scope="PRIVATE"),
        _component,
    ),
    "deployment": (
        _deployments,
        lambda client, name: _body(client("greengrassv2").get_deployment(deploymentId=name.rpartition(" ")[2])),
    ),
}
"""Kind → how all names of it are listed, and how one is described."""
