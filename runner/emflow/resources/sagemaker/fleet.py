"""The kind `fleet`: the Edge Manager device fleet, without its devices.

Semantics: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateDeviceFleet.html. EnableIotRoleAlias
stays off: the role alias is a resource of its own here, with the workflow's name and duration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import error_code
from emflow.engine.resource import (
    REMOVABLE,
    Diff,
    FieldLabel,
    Inputs,
    Observed,
    Outputs,
    Retention,
    RunContext,
)
from emflow.engine.scheduler import read_parallel
from emflow.problems import Problem
from emflow.resources.aws_calls import none_if_missing, retry_until_assumable
from emflow.resources.greengrass.deployment_records import users_of_fleet
from emflow.resources.iam.policies_of_others import policies_that_name
from emflow.resources.iam.role import OLD_ROLES, ROLE, RoleName, role_name, role_user
from emflow.resources.iam.shared_role import RoleUser
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.orphans import Orphan, Orphans
from emflow.resources.ownership import (
    NOT_OWNED,
    OTHERS_LABEL,
    TAGS_LABEL,
    Ownership,
    added_and_removed,
    refuse_unowned_change,
    tags_as_list,
    tags_as_mapping,
)
from emflow.resources.s3.bucket import OLD_BUCKETS, RESULTS_BUCKET
from emflow.resources.sagemaker.devices import FLEET, Devices, first_names, unnamed_devices
from emflow.resources.second_look import is_still_removable
from emflow.resources.tag_search import PERMISSION, find_owned, name_in_arn

OLD_FLEETS = "orphan/fleets"
DEVICES_OF = "devices of "
"""Begins the name of an orphan that is not an earlier fleet, but only the workflow's devices in it."""


@dataclass(frozen=True)
class FleetContent:
    """What is in a fleet of the workflow, and who uses it, before it is removed.

    Args:
        devices: those in the fleet.
        role: the role that the workflow uses, as `user`.
    """

    devices: Devices
    role: RoleName
    user: RoleUser

    def others(self, clients: Clients) -> list[str]:
        """What shows that others use the fleet, for people."""
        fleet, found = self.devices.fleet, []
        if of_others := self.devices.of_others(clients):
            found.append(f"others registered devices in it: {first_names(of_others)}")
        here = re.compile(rf"arn:[^:]+:sagemaker:{re.escape(clients.region)}:[^:]*:device-fleet/{re.escape(fleet)}/")
        found += policies_that_name(
            clients, self.user, self.role.find(clients), lambda resource: bool(here.match(resource))
        )
        return [*found, *users_of_fleet(clients, self.devices.ownership, fleet)]


@dataclass(frozen=True)
class Fleet:
    """A fleet.

    Args:
        location: the S3 URI that captured data goes to.
        kms_key: what that is encrypted with there.
        content: what is looked at before it is removed: a fleet that others use stays.
    """

    name: str
    description: str
    location: str
    ownership: Ownership
    adopted: bool = False
    kms_key: str | None = None
    content: FleetContent | None = None

    id: ClassVar[str] = FLEET
    needs: ClassVar[frozenset[str]] = frozenset({ROLE, RESULTS_BUCKET})
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "arn": FieldLabel("its ARN"),
        "role": FieldLabel("the role that it uses"),
        "location": FieldLabel("the place for captures"),
        "kms_key": FieldLabel("the encryption key"),
        "tags": TAGS_LABEL,
        "others": OTHERS_LABEL,
    }

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
            **({"others": self.content.others(clients)} if self.content else {}),
        }

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        want = {
            "role": inputs.planned(ROLE, "arn"),
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
            "RoleArn": inputs.known(ROLE, "arn"),
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

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        if not self.ownership.owns(observed["tags"]):
            return Retention.because(NOT_OWNED)
        others: list[str] = observed.get("others", [])
        if others:
            return Retention.used_by_others("; ".join(others))
        return REMOVABLE

    def delete(self, clients: Clients, run: RunContext) -> None:
        sagemaker = clients("sagemaker")
        if self.content and not is_still_removable(self, clients):
            return
        try:
            none_if_missing(lambda: sagemaker.delete_device_fleet(DeviceFleetName=self.name))
        except ClientError as error:
            pages = sagemaker.get_paginator("list_devices").paginate(DeviceFleetName=self.name)
            left = [device["DeviceName"] for page in pages for device in page["DeviceSummaries"]]
            if not left:
                raise
            raise Problem(
                f"device fleet {self.name} holds devices that this workflow did not register: {first_names(left)}",
                where="sagemaker:DeleteDeviceFleet",
                mend="Deregister them with whatever registered them, then run it again; or keep the fleet for them.",
            ) from error


@dataclass(frozen=True)
class OldFleets:
    """Finds the workflow's fleets that it no longer names, with its devices in them. `current`: the one it names."""

    current: Fleet
    content: FleetContent
    permission: ClassVar[str] = PERMISSION

    def find(self, clients: Clients) -> Mapping[str, Orphan]:
        arns = find_owned(clients, "sagemaker", self.current.ownership, [FLEET])
        names = {name_in_arn(arn) for arn in arns} - {self.current.name}
        found = read_parallel({name: partial(self._orphan, clients, name) for name in sorted(names)})
        return dict(orphan for orphan in found.values() if orphan)

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        fleet, devices = self._at(name.removeprefix(DEVICES_OF))
        if name.startswith(DEVICES_OF):
            devices.delete(clients, run)
        # Look before the first change: a fleet that stays keeps our devices too.
        elif is_still_removable(fleet, clients):
            devices.delete(clients, run)
            fleet.delete(clients, run)

    def _at(self, name: str) -> tuple[Fleet, Devices]:
        devices = replace(self.content.devices, fleet=name, named=())
        return replace(self.current, name=name, content=replace(self.content, devices=devices)), devices

    def _orphan(self, clients: Clients, name: str) -> tuple[str, Orphan] | None:
        """What is to be removed of a fleet, under the name that `remove` takes."""
        fleet, devices = self._at(name)
        found = fleet.observe(clients)
        if not found or not fleet.ownership.owns(found["tags"]):
            return None
        own = sum(device["ours"] for device in devices.registered(clients).values())
        if not found["others"]:
            return name, Orphan(f"the fleet, and {own} devices in it")
        reason = "; ".join(found["others"])
        if own:
            return f"{DEVICES_OF}{name}", Orphan(f"{own} devices", (f"fleet {name} stays: {reason}",))
        return name, Orphan("the fleet", retention=Retention.because(reason))


def _fleet(context: BuildContext, content: FleetContent | None) -> Fleet:
    fleet, results = context.workflow.cloud.fleet, context.workflow.cloud.buckets.inference_results
    return Fleet(
        name=fleet.name,
        description=fleet.description,
        location=f"s3://{results.name}",
        ownership=context.ownership(FLEET),
        adopted=FLEET in context.adopted,
        kms_key=results.encryption.kms_key,
        content=content,
    )


def _content(context: BuildContext) -> FleetContent:
    return FleetContent(unnamed_devices(context), role_name(context), role_user(context))


def _desired(context: BuildContext) -> tuple[Fleet, ...]:
    return (_fleet(context, None),)


def _removable(context: BuildContext) -> tuple[Fleet, ...]:
    return (_fleet(context, _content(context)),)


def _orphans(context: BuildContext) -> tuple[Orphans, ...]:
    content = _content(context)
    finder = OldFleets(_fleet(context, content), content)
    return (Orphans(OLD_FLEETS, "earlier fleets", finder, releases=frozenset({OLD_ROLES, OLD_BUCKETS})),)


KIND = ResourceKind(desired=_desired, removable=_removable, orphans=_orphans, adoptable=(FLEET,))
