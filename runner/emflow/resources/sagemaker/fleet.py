"""The Edge Manager device fleet, without its devices.

Semantics: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateDeviceFleet.html. EnableIotRoleAlias
stays off: the role alias is a resource of its own here, with the workflow's name and duration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import error_code
from emflow.engine.resource import Diff, Inputs, InUse, Observed, Outputs, RunContext
from emflow.problems import Problem
from emflow.resources.aws_calls import none_if_missing, retry_until_assumable
from emflow.resources.ownership import (
    FLEET,
    NOT_OWNED,
    RESULTS_BUCKET,
    ROLE,
    Ownership,
    added_and_removed,
    refuse_unowned_change,
    tags_as_list,
    tags_as_mapping,
)
from emflow.resources.sagemaker.devices import Devices


@dataclass(frozen=True)
class Fleet:
    """A fleet.

    Args:
        location: the S3 URI that captured data goes to.
        kms_key: what that is encrypted with there.
        devices: the workflow's own, for `destroy`: a fleet with others' devices in it stays.
    """

    name: str
    description: str
    location: str
    ownership: Ownership
    adopted: bool = False
    kms_key: str | None = None
    devices: Devices | None = None

    @property
    def id(self) -> str:
        return FLEET

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({ROLE, RESULTS_BUCKET})

    def observe(self, clients: Clients) -> Observed | None:
        sagemaker = clients("sagemaker")
        found = none_if_missing(lambda: sagemaker.describe_device_fleet(DeviceFleetName=self.name))
        if found is None:
            return None
        pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=found["DeviceFleetArn"])
        return {
            "arn": found["DeviceFleetArn"],
            "role": found.get("RoleArn"),
            "location": found["OutputConfig"]["S3OutputLocation"].rstrip("/"),
            "kms_key": found["OutputConfig"].get("KmsKeyId") or None,
            "description": found.get("Description", "").strip(),
            "tags": tags_as_mapping([tag for page in pages for tag in page["Tags"]]),
            **({"others": self.devices.of_others(clients)} if self.devices else {}),
        }

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        want = {
            "role": inputs(ROLE, "arn"),
            "location": self.location,
            "kms_key": self.kms_key,
            "description": self.description.strip(),
            "tags": self.ownership.merged_with(observed["tags"] if observed else None),
        }
        diff = Diff.between(want, observed, outputs={"name": self.name})
        if observed is not None:
            refuse_unowned_change(
                f"device fleet {self.name}", self.ownership, observed["tags"], diff.changes, adopted=self.adopted
            )
        return diff

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        sagemaker = clients("sagemaker")
        asked: dict[str, Any] = {
            "DeviceFleetName": self.name,
            "RoleArn": inputs(ROLE, "arn"),
            "OutputConfig": {
                "S3OutputLocation": self.location,
                **({"KmsKeyId": self.kms_key} if self.kms_key else {}),
            },
            # A description cannot be empty, and one that is left out stays: a space takes it away.
            "Description": self.description or " ",
        }

        def create() -> None:
            sagemaker.create_device_fleet(**asked, EnableIotRoleAlias=False, Tags=self.ownership.tag_list())

        found = self.observe(clients)
        if found is None:
            try:
                retry_until_assumable(create, run)
                return diff.outputs
            except (ClientError, BotoCoreError) as error:
                # Perhaps an earlier try went through and its answer was lost.
                if isinstance(error, ClientError) and error_code(error) != "ResourceInUse":
                    raise
                found = self.observe(clients)
                if found is None:
                    raise
        changes = {change.field: change for change in self.diff(found, inputs).changes}
        if "tags" in changes:
            put, removed = added_and_removed(changes.pop("tags"))
            if put:
                sagemaker.add_tags(ResourceArn=found["arn"], Tags=tags_as_list(put))
            if removed:
                sagemaker.delete_tags(ResourceArn=found["arn"], TagKeys=removed)
        if changes:
            retry_until_assumable(lambda: sagemaker.update_device_fleet(**asked), run)
        return diff.outputs

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        if not self.ownership.owns(observed["tags"]):
            return NOT_OWNED
        others: list[str] = observed.get("others", [])
        some = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        return InUse(f"others registered devices in it: {some}") if others else None

    def delete(self, clients: Clients, run: RunContext) -> None:
        sagemaker = clients("sagemaker")
        try:
            none_if_missing(lambda: sagemaker.delete_device_fleet(DeviceFleetName=self.name))
        except ClientError as error:
            left = sagemaker.list_devices(DeviceFleetName=self.name, MaxResults=5)["DeviceSummaries"]
            if not left:
                raise
            names = ", ".join(device["DeviceName"] for device in left)
            raise Problem(
                f"device fleet {self.name} holds devices that this workflow did not register: {names}",
                where="sagemaker:DeleteDeviceFleet",
                mend="Deregister them where they came from, then run it again; or leave the fleet to them.",
            ) from error
