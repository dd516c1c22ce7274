"""The Edge Manager device fleet, without its devices.

Semantics: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateDeviceFleet.html. EnableIotRoleAlias
stays off: the role alias is a resource of its own here, with the workflow's name and duration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import code, missing
from emflow.engine.resource import Diff, Inputs, Observed, Outputs, Run
from emflow.resources.marks import FLEET, NOT_OURS, RESULTS_BUCKET, ROLE, Mark, by_key, refuse_foreign
from emflow.resources.waiting import when_assumable


@dataclass(frozen=True)
class Fleet:
    """A fleet. `location` is the S3 URI that captured data goes to."""

    name: str
    description: str
    location: str
    mark: Mark
    adopted: bool = False

    @property
    def id(self) -> str:
        return FLEET

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({ROLE, RESULTS_BUCKET})

    def observe(self, clients: Clients) -> Observed | None:
        sagemaker = clients("sagemaker")
        try:
            found = sagemaker.describe_device_fleet(DeviceFleetName=self.name)
        except ClientError as error:
            if missing(error):
                return None
            raise
        pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=found["DeviceFleetArn"])
        return {
            "arn": found["DeviceFleetArn"],
            "role": found.get("RoleArn"),
            "location": found["OutputConfig"]["S3OutputLocation"].rstrip("/"),
            "description": found.get("Description", ""),
            "tags": by_key([tag for page in pages for tag in page["Tags"]]),
        }

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        want = {"role": inputs(ROLE, "arn"), "location": self.location, "description": self.description}
        diff = Diff.between(want, observed, outputs={"name": self.name})
        if observed is not None:
            refuse_foreign(f"device fleet {self.name}", self.mark, observed["tags"], diff.changes, adopted=self.adopted)
        return diff

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: Run) -> Outputs:
        sagemaker = clients("sagemaker")
        asked: dict[str, Any] = {
            "DeviceFleetName": self.name,
            "RoleArn": inputs(ROLE, "arn"),
            "OutputConfig": {"S3OutputLocation": self.location},
            **({"Description": self.description} if self.description else {}),
        }

        def create() -> None:
            sagemaker.create_device_fleet(**asked, EnableIotRoleAlias=False, Tags=self.mark.tag_list())

        found = self.observe(clients)
        if found is None:
            try:
                when_assumable(create, run)
                return diff.outputs
            except ClientError as error:
                found = self.observe(clients) if code(error) == "ResourceInUse" else None
                if found is None:
                    raise
        if self.diff(found, inputs).changes:
            when_assumable(lambda: sagemaker.update_device_fleet(**asked), run)
        return diff.outputs

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        return None if self.mark.is_on(observed["tags"]) else NOT_OURS

    def delete(self, clients: Clients, run: Run) -> None:
        clients("sagemaker").delete_device_fleet(DeviceFleetName=self.name)
