"""Device fleets and the devices registered in them.

Semantics: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateDeviceFleet.html and related pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.errors import ApiError, invalid
from emflow_emulator.aws.internal_clients import InternalClients
from emflow_emulator.aws.paging import page
from emflow_emulator.aws.protocol import Handler, Params
from emflow_emulator.aws.sagemaker.jobs import pick, sort
from emflow_emulator.aws.sagemaker.tags import Tags


@dataclass
class Device:
    """A device in a fleet, with the data of its registration."""

    name: str
    arn: str
    registered: datetime
    thing: str | None
    description: str | None
    heartbeat: datetime | None = None
    agent_version: str | None = None
    models: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Fleet:
    """A fleet and its devices."""

    name: str
    arn: str
    created: datetime
    modified: datetime
    output: dict[str, Any]
    role: str | None
    description: str | None
    role_alias: str | None
    devices: dict[str, Device] = field(default_factory=dict)


class Fleets:
    """The fleets of one region."""

    def __init__(self, account_region: AccountRegion, clients: InternalClients, tags: Tags) -> None:
        self._account_region = account_region
        self._clients = clients
        self._tags = tags
        self._all: dict[str, Fleet] = {}

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateDeviceFleet": self._create,
            "UpdateDeviceFleet": self._update,
            "DescribeDeviceFleet": self._describe,
            "DeleteDeviceFleet": self._delete,
            "ListDeviceFleets": self._list,
            "RegisterDevices": self._register,
            "UpdateDevices": self._update_devices,
            "DeregisterDevices": self._deregister,
            "DescribeDevice": self._describe_device,
            "ListDevices": self._list_devices,
        }

    @property
    def edge_handlers(self) -> dict[str, Handler]:
        """Operations of `sagemaker-edge`, which agents call."""
        return {"SendHeartbeat": self._heartbeat}

    def _heartbeat(self, params: Params) -> None:
        device = self._device_at(params)
        device.heartbeat, device.agent_version = datetime.now(UTC), params["AgentVersion"]
        device.models = {
            model["ModelName"]: {
                name: model[name]
                for name in ("ModelName", "ModelVersion", "LatestSampleTime", "LatestInference")
                if name in model
            }
            for model in params.get("Models", ())
            if "ModelName" in model and "ModelVersion" in model
        }

    def _create(self, params: Params) -> None:
        name = params["DeviceFleetName"]
        arn = self._account_region.arn("sagemaker", f"device-fleet/{name}")
        if name in self._all:
            raise ApiError("ResourceInUse", f"Device fleet {name} already exists ({arn})")
        if "RoleArn" in params:
            self._clients.check_role(params["RoleArn"])
        now = datetime.now(UTC)
        self._all[name] = Fleet(
            name=name,
            arn=arn,
            created=now,
            modified=now,
            output=params["OutputConfig"],
            role=params.get("RoleArn"),
            description=params.get("Description"),
            role_alias=self._role_alias(name, params) if params.get("EnableIotRoleAlias") else None,
        )
        self._tags.new(arn, params)

    def _role_alias(self, fleet: str, params: Params) -> str:
        """Make the IoT role alias of a fleet, or use an existing alias for the same role."""
        role = params.get("RoleArn")
        if not role:
            raise invalid("EnableIotRoleAlias needs a RoleArn for the alias.")
        iot, alias = self._clients("iot"), f"SageMakerEdge-{fleet}"
        try:
            return str(iot.create_role_alias(roleAlias=alias, roleArn=role)["roleAliasArn"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                raise invalid(f"IoT role alias {alias} could not be made: {error}") from error
        there = iot.describe_role_alias(roleAlias=alias)["roleAliasDescription"]
        if there["roleArn"] != role:
            raise ApiError(
                "ResourceInUse", f"IoT role alias {alias} exists and is for another role, {there['roleArn']}"
            )
        return str(there["roleAliasArn"])

    def _update(self, params: Params) -> None:
        fleet = self._at(params)
        if "RoleArn" in params:
            self._clients.check_role(params["RoleArn"])
        alias = (
            self._role_alias(fleet.name, {"RoleArn": fleet.role, **params})
            if params.get("EnableIotRoleAlias")
            else None
        )
        fleet.output = params["OutputConfig"]
        fleet.role = params.get("RoleArn", fleet.role)
        fleet.description = params.get("Description", fleet.description)
        fleet.role_alias = alias or fleet.role_alias
        fleet.modified = datetime.now(UTC)

    def _describe(self, params: Params) -> dict[str, Any]:
        fleet = self._at(params)
        return {
            "DeviceFleetName": fleet.name,
            "DeviceFleetArn": fleet.arn,
            "OutputConfig": fleet.output,
            "Description": fleet.description,
            "CreationTime": fleet.created,
            "LastModifiedTime": fleet.modified,
            "RoleArn": fleet.role,
            "IotRoleAlias": fleet.role_alias,
        }

    def _delete(self, params: Params) -> None:
        fleet = self._at(params)
        if fleet.devices:
            raise ApiError(
                "ResourceInUse",
                f"Device fleet {fleet.name} has {len(fleet.devices)} registered devices; deregister them first.",
            )
        self._tags.drop(fleet.arn)
        del self._all[fleet.name]

    def _list(self, params: Params) -> dict[str, Any]:
        summaries = [
            {
                "DeviceFleetArn": each.arn,
                "DeviceFleetName": each.name,
                "CreationTime": each.created,
                "LastModifiedTime": each.modified,
            }
            for each in self._all.values()
        ]
        keys = {
            "NAME": "DeviceFleetName",
            "CREATION_TIME": "CreationTime",
            "LAST_MODIFIED_TIME": "LastModifiedTime",
        }
        found = sort(pick(summaries, params, name="DeviceFleetName"), params, keys, "CREATION_TIME")
        listed, token = page(found, params, default=10)
        return {"DeviceFleetSummaries": listed, "NextToken": token}

    def _register(self, params: Params) -> None:
        fleet = self._at(params)
        names = [device["DeviceName"] for device in params["Devices"]]
        twice = sorted({name for name in names if names.count(name) > 1 or name in fleet.devices})
        if twice:
            raise invalid(f"Devices can be registered in fleet {fleet.name} only once: {', '.join(twice)}.")
        now = datetime.now(UTC)
        for device in params["Devices"]:
            name = device["DeviceName"]
            arn = self._account_region.arn("sagemaker", f"device-fleet/{fleet.name}/device/{name}")
            fleet.devices[name] = Device(name, arn, now, device.get("IotThingName"), device.get("Description"))
            self._tags.new(arn, params)

    def _update_devices(self, params: Params) -> None:
        fleet = self._at(params)
        self._all_registered(fleet, [device["DeviceName"] for device in params["Devices"]])
        for change in params["Devices"]:
            device = fleet.devices[change["DeviceName"]]
            device.thing = change.get("IotThingName", device.thing)
            device.description = change.get("Description", device.description)

    def _deregister(self, params: Params) -> None:
        fleet = self._at(params)
        self._all_registered(fleet, params["DeviceNames"])
        for name in params["DeviceNames"]:
            device = fleet.devices.pop(name, None)
            if device:
                self._tags.drop(device.arn)

    def _all_registered(self, fleet: Fleet, names: list[str]) -> None:
        unknown = sorted(set(names) - fleet.devices.keys())
        if unknown:
            raise invalid(f"Devices are not registered in fleet {fleet.name}: {', '.join(unknown)}.")

    def _describe_device(self, params: Params) -> dict[str, Any]:
        device = self._device_at(params)
        return {**_device(self._at(params), device), "Models": list(device.models.values())}

    def _list_devices(self, params: Params) -> dict[str, Any]:
        fleets = [self._at(params)] if "DeviceFleetName" in params else list(self._all.values())
        after, model = params.get("LatestHeartbeatAfter"), params.get("ModelName")
        found = [
            {**_device(fleet, device), "Models": _names(device)}
            for fleet in fleets
            for device in fleet.devices.values()
            if (after is None or (device.heartbeat and device.heartbeat > after))
            and (model is None or model in device.models)
        ]
        found.sort(key=lambda each: (each["DeviceFleetName"], each["DeviceName"]))
        listed, token = page(found, params, default=10)
        return {"DeviceSummaries": listed, "NextToken": token}

    def _device_at(self, params: Params) -> Device:
        fleet = self._at(params)
        device = fleet.devices.get(params["DeviceName"])
        if device is None:
            raise invalid(f"No device with name {params['DeviceName']} found in fleet {fleet.name}.")
        return device

    def _at(self, params: Params) -> Fleet:
        name = params["DeviceFleetName"]
        if name not in self._all:
            raise invalid(f"No devicefleet with name {name} found.")
        return self._all[name]


def _device(fleet: Fleet, device: Device) -> dict[str, Any]:
    return {
        "DeviceArn": device.arn,
        "DeviceName": device.name,
        "Description": device.description,
        "DeviceFleetName": fleet.name,
        "IotThingName": device.thing,
        "RegistrationTime": device.registered,
        "LatestHeartbeat": device.heartbeat,
        "AgentVersion": device.agent_version,
    }


def _names(device: Device) -> list[dict[str, Any]]:
    return [{name: model[name] for name in ("ModelName", "ModelVersion")} for model in device.models.values()]
