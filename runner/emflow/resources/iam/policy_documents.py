"""IAM policy documents: what the role may do, and who may assume it.

Which call needs which right: https://docs.aws.amazon.com/greengrass/v2/developerguide/device-service-role.html (logs,
artifacts), AWS's own AmazonSageMakerEdgeDeviceFleetPolicy (heartbeat, registration, captures), and the jobs' reading
and writing of models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from emflow.recipes.deployment import secrets
from emflow.workflow.model import Workflow

TRUSTED = ("credentials.iot.amazonaws.com", "sagemaker.amazonaws.com")
"""Who assumes the role: devices, through the role alias, and SageMaker's jobs."""

WORKSHOP = (
    "service-role/AmazonSageMakerEdgeDeviceFleetPolicy",
    "AmazonS3FullAccess",
    "service-role/AWSIoTLogging",
    "service-role/AWSIoTRuleActions",
    "service-role/AWSIoTThingsRegistration",
    "AWSGreengrassFullAccess",
)
"""The AWS managed policies that the workshop attaches or checks, with the paths they have in AWS."""


def managed_arns(partition: str) -> tuple[str, ...]:
    """The ARNs of the workshop's policies."""
    return tuple(f"arn:{partition}:iam::aws:policy/{path}" for path in WORKSHOP)


def least_privilege(workflow: Workflow, partition: str) -> dict[str, Any]:
    """The inline policy for one workflow."""
    cloud, region = workflow.cloud, workflow.aws.region
    components = f"arn:{partition}:s3:::{cloud.buckets.components.name}"
    results = f"arn:{partition}:s3:::{cloud.buckets.inference_results.name}"
    captures = f"{results}/{workflow.edge.capture.prefix.strip('/')}/{cloud.fleet.name}/*"
    model = f"arn:{partition}:greengrass:{region}:*:components:{cloud.package.component.name}"
    logs = f"arn:{partition}:logs:{region}:*:log-group:/aws"
    devices = f"arn:{partition}:sagemaker:{region}:*:device-fleet/{cloud.fleet.name}/device/*"
    fetching = ["sagemaker:GetDeployments"] if workflow.edge.agent.model_deployments else []
    keys = {cloud.buckets.components.encryption.kms_key, cloud.buckets.inference_results.encryption.kms_key}
    return {
        "Version": "2012-10-17",
        "Statement": [
            _allow("FindBuckets", ["s3:GetBucketLocation", "s3:ListBucket"], [components, results]),
            _allow("ReadComponents", ["s3:GetObject"], [f"{components}/artifacts/*", f"{components}/models/*"]),
            _allow("WriteModels", ["s3:PutObject"], [f"{components}/models/*"]),
            _allow("WriteCaptures", ["s3:PutObject"], [captures]),
            _allow("EdgeAgent", ["sagemaker:GetDeviceRegistration", "sagemaker:SendHeartbeat", *fetching], [devices]),
            _allow(
                "ModelComponent",
                ["greengrass:CreateComponentVersion", "greengrass:DescribeComponent"],
                [model, f"{model}:versions:*"],
            ),
            _allow(
                "Logs",
                ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
                [f"{logs}/greengrass/*", f"{logs}/sagemaker/*"],
            ),
            *_secrets(sorted(secrets(workflow))),
            *_keys(sorted(key for key in keys if key), partition, region),
        ],
    }


def in_addition_to_the_workshops(workflow: Workflow) -> dict[str, Any] | None:
    """The inline policy for what the workshop's policies do not allow, the cameras' secrets; None without any."""
    statements = _secrets(sorted(secrets(workflow)))
    return {"Version": "2012-10-17", "Statement": statements} if statements else None


def with_trusted_services(document: Mapping[str, Any] | None) -> dict[str, Any]:
    """A trust policy under which `TRUSTED` may assume the role, and everybody who could before.

    A service that may do so under conditions is not added: a second statement would make the conditions void.
    """
    if document is None:
        document = {"Version": "2012-10-17", "Statement": []}
    already = {*trusted_by(document), *trusted_under_conditions(document)}
    added = [
        {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        for service in TRUSTED
        if service not in already
    ]
    return {**document, "Statement": [*as_list(document["Statement"]), *added]} if added else dict(document)


def trusted_by(document: Mapping[str, Any]) -> list[str]:
    """The services that may assume the role without any condition, in the document's order."""
    return [service for service, condition in _trusted(document) if not condition]


def trusted_under_conditions(document: Mapping[str, Any]) -> list[str]:
    """Those of `TRUSTED` that may assume the role under conditions only."""
    found, free = dict(_trusted(document)), trusted_by(document)
    return [service for service in TRUSTED if service in found and service not in free]


def _trusted(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The services that may assume the role, each with the condition."""
    for statement in as_list(document.get("Statement")):
        principal = statement.get("Principal")
        actions = as_list(statement.get("Action"))
        if (
            statement.get("Effect") == "Allow"
            and isinstance(principal, dict)
            and {"sts:AssumeRole", "sts:*", "*"} & set(actions)
        ):
            for service in as_list(principal.get("Service")):
                yield service, statement.get("Condition")


def _secrets(arns: list[str]) -> list[dict[str, Any]]:
    """To IAM, a secret's name is always with the six characters that AWS puts at its end."""
    whole = [arn if re.search(r"-[A-Za-z0-9]{6}$", arn) else f"{arn}-??????" for arn in arns]
    return [_allow("Secrets", ["secretsmanager:GetSecretValue"], whole)] if arns else []


def _keys(keys: list[str], partition: str, region: str) -> list[dict[str, Any]]:
    """The use of KMS keys, through S3 only. An alias is named in a condition: as a resource, IAM does not know it."""
    via_s3 = {"StringLike": {"kms:ViaService": f"s3.{region}.amazonaws.com*"}}
    actions = ["kms:Decrypt", "kms:GenerateDataKey"]
    by_arn = [key for key in keys if ":key/" in key]
    aliases = [key[key.index("alias/") :] for key in keys if "alias/" in key]
    statements = []
    if by_arn:
        statements.append({**_allow("Keys", actions, by_arn), "Condition": via_s3})
    if aliases:
        condition = {**via_s3, "ForAnyValue:StringEquals": {"kms:ResourceAliases": aliases}}
        any_key = f"arn:{partition}:kms:{region}:*:key/*"
        statements.append({**_allow("KeysByAlias", actions, [any_key]), "Condition": condition})
    return statements


def _allow(sid: str, actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def as_list(value: Any) -> list[Any]:
    """IAM lets a list of one be written without brackets."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]
