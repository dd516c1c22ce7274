"""The kind `devices`: the devices registered in the fleet, all of the workflow's at once, in batches.

The description of a registration says which workflow made it. It comes with every page of the list, so no call is made
for a single device, unless its description was changed by hand: then its tags are read. The workflow removes its own
registrations that it no longer names; those of others stay. Edge Manager requires the device name to be the name of
the core's thing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.resource import (
    NOT_MENTIONED,
    REMOVABLE,
    Action,
    Change,
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
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.ownership import NOT_OWNED, Ownership, tags_as_mapping
from emflow.workflow.devices import named_devices
from emflow.workflow.model import DEVICE_NAME

FLEET = "fleet/fleet"
DEVICES = "fleet/devices"

BATCH = 100
"""Devices a request. RegisterDevices documents no limit; ListDevices gives so many a page."""

LONGEST_DESCRIPTION = 40

MAX_TAG_READS = 16
"""Maximum number of devices whose tags are read because their description was changed by hand."""

MAX_SHOWN = 20
"""How many names a plan shows."""


@dataclass(frozen=True)
class Devices:
    """All devices of one workflow, in one fleet. `thing_group`: its members are devices too, as they are now."""

    fleet: str
    named: tuple[str, ...]
    ownership: Ownership
    thing_group: str | None = None

    id: ClassVar[str] = DEVICES
    needs: ClassVar[frozenset[str]] = frozenset({FLEET})
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "listed": FieldLabel("the fleet's list of devices", named_items=True),
        "members": FieldLabel("the thing group's list of devices"),
    }

    @property
    def name(self) -> str:
        if not self.named and not self.thing_group:
            return f"devices of {self.fleet}"
        group = [f"members of {self.thing_group}"] if self.thing_group else []
        return (
            ", ".join([*self.named, *group])
            if len(self.named) < 4
            else f"{len(self.named)} devices" + (f" and the {group[0]}" if group else "")
        )

    @property
    def description(self) -> str:
        """What a registration of ours says: the workflow's name, shortened where it has to be."""
        text = f"emflow {self.ownership.workflow}"
        if len(text) <= LONGEST_DESCRIPTION:
            return text
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{text[: LONGEST_DESCRIPTION - 9]}-{digest}"

    def observe(self, clients: Clients) -> Observed | None:
        found: dict[str, Any] = read_parallel(
            {"listed": partial(self._listed, clients), "members": partial(self._members, clients)}
        )
        listed = found["listed"] or {}
        names = (*self.named, *(found["members"] or ()))
        changed = [name for name in names if name in listed and not listed[name]["ours"]]
        for name, tags in read_parallel(
            {name: partial(_tags, clients, listed[name]["arn"]) for name in changed[:MAX_TAG_READS]}
        ).items():
            listed[name]["ours"] = self.ownership.owns(tags)
        return found

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        assert observed is not None  # there is always something to know: whether the fleet exists
        listed: dict[str, Any] = observed["listed"] or {}
        wanted = dict.fromkeys([*self.named, *self._valid_members(observed["members"])])
        register = [name for name in wanted if name not in listed]
        dropped = [name for name in listed if name not in wanted]
        deregister = [name for name in dropped if listed[name]["ours"]]
        # Registrations that the workflow made are corrected if they were changed by hand.
        same = [name for name in wanted if name in listed]
        changed = [name for name in same if listed[name]["ours"] and self._changes(name, listed[name])]
        others = [name for name in dropped if not listed[name]["ours"]]
        elsewhere = [name for name in same if not listed[name]["ours"] and listed[name]["thing"] != name]
        notes = [
            _note("registered by others, and left alone", others),
            _note("registered by others for another thing", elsewhere),
        ]
        changes = [change for name in changed for change in self._changes(name, listed[name])]
        if register or deregister:
            # Only what is registered and deregistered: the others may be thousands.
            changes.insert(0, Change("registered", _few(deregister), _few(register)))
        action = Action.NONE
        if changes:
            action = Action.UPDATE if any(device["ours"] for device in listed.values()) else Action.CREATE
        work = {"register": tuple(register), "deregister": tuple(deregister), "update": tuple(changed)}
        return Diff(action, tuple(changes), notes=tuple(note for note in notes if note), parameters=work)

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        sagemaker = clients("sagemaker")
        self._register(clients, diff.parameters["register"], run)
        for batch in _batches(diff.parameters["update"]):
            sagemaker.update_devices(DeviceFleetName=self.fleet, Devices=self._registrations(batch))
        self._deregister(clients, diff.parameters["deregister"], run)
        return {}

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        listed = observed["listed"] or {}
        if any(device["ours"] for device in listed.values()):
            return REMOVABLE
        return Retention.because(NOT_OWNED) if listed else NOT_MENTIONED

    def delete(self, clients: Clients, run: RunContext) -> None:
        listed = self.registered(clients)
        self._deregister(clients, [name for name, device in listed.items() if device["ours"]], run)

    def registered(self, clients: Clients) -> dict[str, Any]:
        """What is registered in the fleet, by name; nothing where there is no such fleet."""
        return self._listed(clients) or {}

    def of_others(self, clients: Clients) -> list[str]:
        """The names of devices in the fleet that this workflow did not register."""
        return [name for name, device in self.registered(clients).items() if not device["ours"]]

    def _listed(self, clients: Clients) -> dict[str, Any] | None:
        """What is registered, by name: its thing, its ARN, whose it is; None when there is no such fleet."""
        sagemaker = clients("sagemaker")
        pages = sagemaker.get_paginator("list_devices").paginate(
            DeviceFleetName=self.fleet, PaginationConfig={"PageSize": BATCH}
        )
        return none_if_missing(
            lambda: {
                device["DeviceName"]: {
                    "thing": device.get("IotThingName"),
                    "arn": device["DeviceArn"],
                    "description": device.get("Description", ""),
                    "ours": device.get("Description") == self.description,
                }
                for page in pages
                for device in page["DeviceSummaries"]
            }
        )

    def _members(self, clients: Clients) -> list[str] | None:
        """The members of the thing group; None when there is no such group."""
        if self.thing_group is None:
            return []
        pages = (
            clients("iot")
            .get_paginator("list_things_in_thing_group")
            .paginate(thingGroupName=self.thing_group, PaginationConfig={"PageSize": 250})
        )
        return none_if_missing(lambda: sorted(thing for page in pages for thing in page["things"]))

    def _valid_members(self, members: Sequence[str] | None) -> Sequence[str]:
        """The members, all of which can be devices.

        Raises:
            Problem: the names of some cannot, or there is no such group.
        """
        if members is None:
            raise Problem(
                f"IoT knows no thing group {self.thing_group}",
                where=self.id,
                mend="Correct cloud.fleet.thing_group, or create the group first.",
            )
        if wrong := [name for name in members if not re.fullmatch(DEVICE_NAME, name)]:
            raise Problem(
                f"{len(wrong)} members of thing group {self.thing_group} cannot be devices: {first_names(wrong)}",
                where=self.id,
                mend="Edge Manager accepts letters, digits and dashes, at most 63: rename those things, or remove them "
                "from the group.",
            )
        return members

    def _changes(self, name: str, device: dict[str, Any]) -> list[Change]:
        want = {"thing": name, "description": self.description}
        return [Change(f"{name}.{key}", device[key], value) for key, value in want.items() if device[key] != value]

    def _registrations(self, names: Iterable[str]) -> list[dict[str, str]]:
        return [{"DeviceName": name, "IotThingName": name, "Description": self.description} for name in names]

    def _register(self, clients: Clients, names: Sequence[str], run: RunContext) -> None:
        done = 0
        for batch in _batches(names):
            try:
                self._register_batch(clients, batch)
            except (ClientError, BotoCoreError):
                # Perhaps an earlier try went through and its answer was lost: continue with what is not registered yet.
                listed = self._listed(clients) or {}
                missing = [name for name in batch if name not in listed]
                if len(missing) == len(batch):
                    raise
                if missing:
                    self._register_batch(clients, missing)
            done += len(batch)
            if done < len(names):
                run.waiting("registering", f"{done} of {len(names)}")
                run.pause(0)

    def _register_batch(self, clients: Clients, names: Sequence[str]) -> None:
        clients("sagemaker").register_devices(
            DeviceFleetName=self.fleet, Devices=self._registrations(names), Tags=self.ownership.tag_list()
        )

    def _deregister(self, clients: Clients, names: Sequence[str], run: RunContext) -> None:
        done = 0
        for batch in _batches(names):
            try:
                clients("sagemaker").deregister_devices(DeviceFleetName=self.fleet, DeviceNames=list(batch))
            except (ClientError, BotoCoreError):
                # Perhaps an earlier try went through and its answer was lost.
                if set(batch) & (self._listed(clients) or {}).keys():
                    raise
            done += len(batch)
            if done < len(names):
                run.waiting("deregistering", f"{done} of {len(names)}")
                run.pause(0)


def _tags(clients: Clients, arn: str) -> dict[str, str]:
    pages = clients("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
    return tags_as_mapping([tag for page in pages for tag in page["Tags"]])


def _few(names: Sequence[str]) -> list[str]:
    return [*names[:MAX_SHOWN], f"and {len(names) - MAX_SHOWN} more"] if len(names) > MAX_SHOWN + 1 else list(names)


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))


def first_names(names: Sequence[str]) -> str:
    """Names for a message: the first five, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _note(what: str, names: Sequence[str]) -> str:
    return f"{what}: {first_names(names)}" if names else ""


def unnamed_devices(context: BuildContext) -> Devices:
    """The devices as they are found in the fleet, without those that the workflow names. Reads no file."""
    return Devices(context.workflow.cloud.fleet.name, (), context.ownership(DEVICES))


def _desired(context: BuildContext) -> tuple[Devices, ...]:
    fleet = context.workflow.cloud.fleet
    named = named_devices(context.workflow)
    return (Devices(fleet.name, named, context.ownership(DEVICES), fleet.thing_group),)


def _removable(context: BuildContext) -> tuple[Devices, ...]:
    return (unnamed_devices(context),)


KIND = ResourceKind(desired=_desired, removable=_removable)
