"""The devices registered in the fleet: all of the workflow's at once, in batches.

A device that has left the workflow stays registered and is reported: it may be in somebody's cupboard, and what is
registered costs nothing. Edge Manager wants the device name to be the core's thing name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import missing
from emflow.engine.resource import Action, Change, Diff, Inputs, Observed, Outputs, Run
from emflow.resources.marks import DEVICES, FLEET, NOT_OURS, Mark, by_key

BATCH = 100
"""Devices a request. RegisterDevices documents no limit; ListDevices gives so many a page."""


@dataclass(frozen=True)
class Devices:
    """All devices of one workflow, in one fleet."""

    fleet: str
    wanted: tuple[str, ...]
    mark: Mark

    @property
    def id(self) -> str:
        return DEVICES

    @property
    def name(self) -> str:
        return ", ".join(self.wanted) if len(self.wanted) < 4 else f"{len(self.wanted)} devices"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({FLEET})

    def observe(self, clients: Clients) -> Observed | None:
        sagemaker = clients("sagemaker")
        pages = sagemaker.get_paginator("list_devices").paginate(
            DeviceFleetName=self.fleet, PaginationConfig={"PageSize": BATCH}
        )
        try:
            listed = [device for page in pages for device in page["DeviceSummaries"]]
        except ClientError as error:
            if missing(error):
                return None
            raise
        ours = sorted(device["DeviceName"] for device in listed if device["DeviceName"] in set(self.wanted))
        others = sorted(device["DeviceName"] for device in listed if device["DeviceName"] not in set(self.wanted))
        arns = {device["DeviceName"]: device["DeviceArn"] for device in listed}
        # One stands for all when it comes to whose they are: no call for each device.
        tags = _tags(sagemaker, arns[ours[0]]) if ours else {}
        return {"registered": ours, "others": others, "tags": tags} if listed else None

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        registered = set(observed["registered"]) if observed else set()
        others = observed["others"] if observed else []
        notes = (f"also registered, and left alone: {_some(others)}",) if others else ()
        to_register = [name for name in self.wanted if name not in registered]
        if not to_register:
            return Diff(Action.NONE, notes=notes)
        action = Action.UPDATE if registered else Action.CREATE
        change = Change("registered", sorted(registered), [*sorted(registered), *to_register])
        return Diff(action, (change,), notes=notes, wanted={"register": tuple(to_register)})

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: Run) -> Outputs:
        sagemaker = clients("sagemaker")
        names = diff.wanted["register"]
        done = 0
        for batch in _batches(names):
            devices = [{"DeviceName": name, "IotThingName": name} for name in batch]
            sagemaker.register_devices(DeviceFleetName=self.fleet, Devices=devices, Tags=self.mark.tag_list())
            done += len(batch)
            if done < len(names):
                run.waiting("registering", f"{done} of {len(names)}")
        return {}

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        if not observed["registered"]:
            return f"not in the workflow: {_some(observed['others'])}"
        return None if self.mark.is_on(observed["tags"]) else NOT_OURS

    def delete(self, clients: Clients, run: Run) -> None:
        found = self.observe(clients)
        for batch in _batches(found["registered"] if found else ()):
            clients("sagemaker").deregister_devices(DeviceFleetName=self.fleet, DeviceNames=list(batch))


def _tags(sagemaker: Any, arn: str) -> dict[str, str]:
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return by_key([tag for page in pages for tag in page["Tags"]])


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
