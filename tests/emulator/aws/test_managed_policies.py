"""The policies that AWS manages: read once, and as they are in each partition of each account."""

from __future__ import annotations

import json
from typing import Any

import pytest
from moto.iam.models import IAMBackend

NAME = "policy/service-role/AmazonSageMakerEdgeDeviceFleetPolicy"


@pytest.fixture
def iam(client: Any) -> Any:
    """A client of IAM, whose first request has loaded moto's IAM."""
    iam = client("iam")
    iam.list_roles()
    return iam


def test_a_backend_has_them_without_reading_them_again(iam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moto.iam.models.aws_managed_policies_data", "not JSON")
    here, there = IAMBackend("us-east-1", "111111111111"), IAMBackend("cn-north-1", "222222222222")
    assert len(here.managed_policies) == len(there.managed_policies) > 1000
    for backend, partition in ((here, "aws"), (there, "aws-cn")):
        policy: Any = backend.managed_policies[f"arn:{partition}:iam::aws:{NAME}"]
        (version,) = policy.versions
        assert (policy.account_id, version.policy_arn) == (backend.account_id, policy.arn)
        assert json.loads(version.document)["Statement"]


def test_what_is_attached_in_one_account_is_not_in_another(iam: Any) -> None:
    one, other = IAMBackend("us-east-1", "111111111111"), IAMBackend("us-east-1", "222222222222")
    arn = f"arn:aws:iam::aws:{NAME}"
    one.managed_policies[arn].attachment_count += 1
    one.managed_policies[arn].tags["a"] = {"Key": "a", "Value": "b"}
    untouched: Any = other.managed_policies[arn]
    assert (untouched.attachment_count, untouched.tags) == (0, {})
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 0
