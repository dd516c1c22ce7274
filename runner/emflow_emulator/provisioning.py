"""Makes the resources that a workflow expects to exist before it is applied: thing group, role alias and secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3

from emflow.json_text import to_json
from emflow.problems import Problem
from emflow.recipes.deployment import secrets
from emflow.workflow.model import Workflow
from emflow_emulator.access import AccessKey

_ROLE = "GreengrassV2TokenExchangeRole"
"""The default name in the installer of the Greengrass core software."""
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "credentials.iot.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


def provision(
    workflow: Workflow, thing: str, endpoint_url: str, key: AccessKey, login: Mapping[str, str] | None
) -> dict[str, str]:
    """Make these resources in the embedded AWS.

    Args:
        key: the access key of the embedded AWS.
        thing: the name of the core device's thing, which exists already.
        login: the test camera's username and password; None when the streams keep the workflow's own cameras.

    Returns:
        The ARN in the embedded AWS of each secret, by its ARN in the workflow.

    Raises:
        Problem: a stream that does not use the test camera has credentials, and their secret is only in the real AWS.
    """

    session = boto3.Session(key.id, key.secret, region_name=workflow.aws.region)

    def client(service: str) -> Any:
        return session.client(service, endpoint_url=endpoint_url)  # type: ignore[call-overload]

    group, alias = workflow.cloud.deployment.target.thing_group, workflow.cloud.role.from_alias
    if group:
        iot = client("iot")
        iot.create_thing_group(thingGroupName=group)
        iot.add_thing_to_thing_group(thingGroupName=group, thingName=thing)
    if alias:
        role = client("iam").create_role(RoleName=_ROLE, AssumeRolePolicyDocument=to_json(_TRUST))["Role"]
        client("iot").create_role_alias(roleAlias=alias, roleArn=role["Arn"])
    wanted = secrets(workflow)
    if wanted and login is None:
        raise Problem(
            f"the secret {wanted[0]} does not exist in the embedded AWS",
            where="edge.streams",
            mend="Run it without --camera workflow: the test camera has its own password.",
        )
    manager, value = client("secretsmanager"), to_json(login)
    return {
        arn: manager.create_secret(Name=f"emflow-up-camera-{number}", SecretString=value)["ARN"]
        for number, arn in enumerate(wanted)
    }
