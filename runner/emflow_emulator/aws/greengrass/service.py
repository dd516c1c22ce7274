"""Greengrass V2 of one region: all its operations, and the tags of all its resources."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.errors import ApiError
from emflow_emulator.aws.greengrass import cores
from emflow_emulator.aws.greengrass.components import Component, Components
from emflow_emulator.aws.greengrass.cores import Cores
from emflow_emulator.aws.greengrass.deployments import Deployments
from emflow_emulator.aws.greengrass.jobs import Jobs
from emflow_emulator.aws.greengrass.resolve import Resolver
from emflow_emulator.aws.internal_clients import InternalClients
from emflow_emulator.aws.protocol import Handler, Params


class Greengrass:
    """Greengrass V2.

    Args:
        account_region: the account and the region.
        clients: clients for S3 and IoT.
        settle_seconds: seconds until a new component version is DEPLOYABLE.
    """

    def __init__(self, account_region: AccountRegion, clients: InternalClients, settle_seconds: float) -> None:
        self.lock = threading.RLock()
        self._components = Components(account_region, clients, settle_seconds)
        self._deployments = Deployments(account_region, clients, self._components)
        self._cores = Cores(account_region, clients, self._deployments)
        self.jobs = Jobs(account_region, self._deployments, self._cores)
        self.handlers: dict[str, Handler] = {
            **self._components.handlers,
            **Resolver(self._components).handlers,
            **self._deployments.handlers,
            **self._cores.handlers,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
        }

    def create_component(self, recipe: bytes, tags: Mapping[str, str]) -> Component:
        """Make a component version; a packaging job calls this at its end.

        Raises:
            ApiError: as for CreateComponentVersion.
        """
        with self.lock:
            return self._components.create(recipe, tags)

    def report(self, thing: str, document: Any) -> None:
        """Store a core device's status report.

        Raises:
            ApiError: the report is not valid.
        """
        report = cores.parse(document)
        with self.lock:
            self._cores.take(thing, report)

    def tagged(self) -> dict[str, dict[str, str]]:
        """The tags of component versions and deployments, by ARN."""
        with self.lock:
            return {**self._components.tagged(), **self._deployments.tagged()}

    def _tag(self, params: Params) -> None:
        self._tags(params).update(params["tags"])

    def _untag(self, params: Params) -> None:
        tags = self._tags(params)
        for key in params["tagKeys"]:
            tags.pop(key, None)

    def _list_tags(self, params: Params) -> dict[str, Any]:
        return {"tags": self._tags(params)}

    def _tags(self, params: Params) -> dict[str, str]:
        arn: str = params["resourceArn"]
        kind, _, name = arn.split(":", 5)[5].partition(":")
        tags: dict[str, str] | None = None
        if kind == "components":
            tags = self._components.tags(arn)
        elif kind == "deployments":
            deployment = self._deployments.find(name)
            tags = deployment.tags if deployment else None
        elif kind == "coreDevices":
            tags = self._cores.tags(name)
        if tags is None:
            raise ApiError(
                "ResourceNotFoundException", f"Resource {arn} does not exist.", resourceId=arn, resourceType=kind
            )
        return tags
