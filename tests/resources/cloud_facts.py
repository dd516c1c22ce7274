"""All that the embedded AWS has under some names, flat: a path such as `fleet/us-east-1/a/device/core` → its facts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from emflow.resources.aws_calls import none_if_missing

Client = Callable[[str, str], Any]
"""A service and a region → a boto3 client."""

NOTE = "emflow:policies:"


def facts(client: Client, pools: Mapping[str, Sequence[str]], regions: Sequence[str]) -> dict[str, str]:
    """Everything there is. `pools`: kind → all names that may be in use; buckets are looked for in every region."""
    found: dict[str, str] = {}
    for bucket in pools["bucket"]:
        found |= {path: _text(value) for path, value in _bucket(client("s3", regions[0]), bucket)}
    for role in pools["role"]:
        found |= {path: _text(value) for path, value in _role(client("iam", regions[0]), role)}
    for region in regions:
        for kind, read in {"alias": _alias, "fleet": _fleet, "component": _component, "runs": _runs}.items():
            service = {"alias": "iot", "fleet": "sagemaker"}.get(kind, "greengrassv2")
            for name in pools[kind]:
                for path, value in read(client(service, region), name, region):
                    found[f"{kind}/{region}/{name}{path}"] = _text(value)
    return found


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _or_none(call: Callable[..., Any], **arguments: Any) -> Any:
    answer = none_if_missing(lambda: call(**arguments))
    if answer is None:
        return None
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def _bucket(s3: Any, name: str) -> Iterator[tuple[str, Any]]:
    if _or_none(s3.head_bucket, Bucket=name) is None:
        return
    reads = ("tagging", "policy", "encryption", "versioning", "lifecycle_configuration", "ownership_controls")
    yield f"bucket/{name}", {each: _or_none(getattr(s3, f"get_bucket_{each}"), Bucket=name) for each in reads}
    for each in s3.list_objects_v2(Bucket=name).get("Contents", ()):
        yield f"bucket/{name}/{each['Key']}", each["ETag"]


def _role(iam: Any, name: str) -> Iterator[tuple[str, Any]]:
    found = _or_none(iam.get_role, RoleName=name)
    if found is None:
        return
    role = found["Role"]
    tags = {tag["Key"]: tag["Value"] for tag in role.get("Tags", [])}
    own = {key: value for key, value in tags.items() if not key.startswith(NOTE)}
    yield f"role/{name}", [role["AssumeRolePolicyDocument"], role.get("MaxSessionDuration"), own]
    for key in tags.keys() - own.keys():
        yield f"role/{name}/note/{key}", tags[key]
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        yield f"role/{name}/inline/{policy}", iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]


def _alias(iot: Any, name: str, region: str) -> Iterator[tuple[str, Any]]:
    found = _or_none(iot.describe_role_alias, roleAlias=name)
    if found is not None:
        alias = found["roleAliasDescription"]
        tags = iot.list_tags_for_resource(resourceArn=alias["roleAliasArn"])["tags"]
        yield "", [alias["roleArn"], alias.get("credentialDurationSeconds"), tags]


def _fleet(sagemaker: Any, name: str, region: str) -> Iterator[tuple[str, Any]]:
    found = _or_none(sagemaker.describe_device_fleet, DeviceFleetName=name)
    if found is None:
        return
    tags = sagemaker.list_tags(ResourceArn=found["DeviceFleetArn"])["Tags"]
    yield "", [found["RoleArn"], found["OutputConfig"], found.get("Description"), tags]
    for device in sagemaker.list_devices(DeviceFleetName=name)["DeviceSummaries"]:
        yield f"/device/{device['DeviceName']}", device.get("Description")


def _component(greengrass: Any, name: str, region: str) -> Iterator[tuple[str, Any]]:
    arn = f"arn:aws:greengrass:{region}:123456789012:components:{name}"
    for each in (_or_none(greengrass.list_component_versions, arn=arn) or {}).get("componentVersions", ()):
        recipe = greengrass.get_component(arn=each["arn"])["recipe"]
        yield f"/{each['componentVersion']}", hashlib.sha256(recipe).hexdigest()


def _runs(greengrass: Any, thing: str, region: str) -> Iterator[tuple[str, Any]]:
    target = f"arn:aws:iot:{region}:123456789012:thing/{thing}"
    for each in greengrass.list_deployments(targetArn=target, historyFilter="LATEST_ONLY")["deployments"]:
        found = greengrass.get_deployment(deploymentId=each["deploymentId"])
        for name, spec in (found.get("components") or {}).items():
            yield f"/{name}", spec
