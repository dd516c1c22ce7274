"""What the role may do for the cameras' secrets, whichever policies it has."""

from __future__ import annotations

import dataclasses
import json

from emflow.resources.iam import policy_documents
from emflow.workflow.model import Secret
from resources.conftest import within


def test_the_role_may_read_the_secrets_of_the_cameras_and_no_others(rollout, workflow, client):
    part = "arn:aws:secretsmanager:us-east-1:123456789012:secret:cameras/"
    whole = tuple(
        dataclasses.replace(stream, credentials=Secret(secret=f"{part}{name}"))
        for stream in workflow.edge.streams[:1]
        for name in ("front-AbCdEf", "back")
    )
    secured = within(workflow, "edge", streams=whole)
    reads = {
        "Sid": "Secrets",
        "Effect": "Allow",
        "Action": ["secretsmanager:GetSecretValue"],
        "Resource": [f"{part}back-??????", f"{part}front-AbCdEf"],
    }
    assert reads in policy_documents.least_privilege(secured, "aws")["Statement"]
    assert "secretsmanager" not in json.dumps(policy_documents.least_privilege(workflow, "aws"))

    rollout.apply(within(secured, "cloud.role", policies="workshop"))
    role = workflow.cloud.role.name
    (name,) = client("iam").list_role_policies(RoleName=role)["PolicyNames"]
    document = client("iam").get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    assert document["Statement"] == [reads]
