"""The deployment: which components the target runs, with which configuration.

A target has one deployment, and a new one replaces it whole: what it does not name leaves the devices. So ours starts
from the target's latest, keeps what is not ours in it, and is made only when something would be different.
https://docs.aws.amazon.com/greengrass/v2/developerguide/revise-deployments.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import missing
from emflow.engine.resource import LATER, Action, Change, Diff, Inputs, Observed, Outputs, Run
from emflow.engine.work import together
from emflow.problems import Problem
from emflow.recipes.deployment import deployment_components
from emflow.resources.marks import COMPONENT, DEPLOYMENT, DEVICES, NOT_OURS, PACKAGE, PERMISSIONS, ROLE_ALIAS, Mark
from emflow.workflow.model import Workflow

LATEST = "latest"
SETTINGS = ("deploymentPolicies", "iotJobConfiguration", "parentTargetArn")
"""What a revision keeps of the deployment before."""


@dataclass(frozen=True)
class Deployment:
    """What one thing or thing group is to run."""

    workflow: Workflow
    mark: Mark
    retry_failed: bool = False

    @property
    def id(self) -> str:
        return DEPLOYMENT

    @property
    def name(self) -> str:
        return self.workflow.cloud.deployment.target.arn_suffix

    @property
    def needs(self) -> frozenset[str]:
        # The devices need the role, what it may do, its alias and the registration to use what is deployed to them.
        return frozenset({PACKAGE, COMPONENT, PERMISSIONS, ROLE_ALIAS, DEVICES})

    def observe(self, clients: Clients) -> Observed | None:
        found: dict[str, Any] = together(
            {
                "latest": lambda: latest_deployment(clients, self._target(clients)),
                "public": lambda: self._newest(clients),
                "known": lambda: self._known(clients),
            }
        )
        return found

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        assert observed is not None  # there is always something to know: the public components
        latest: dict[str, Any] | None = observed["latest"]
        there: dict[str, Any] = latest["components"] if latest else {}
        ours = self._components(there, observed["public"], inputs(COMPONENT, "version"))
        others = {name: spec for name, spec in there.items() if name not in ours}
        notes = tuple(
            f"keeps {name} {spec['componentVersion']}, which is not in this workflow" for name, spec in others.items()
        )
        if not observed["known"]:
            notes = (*notes, f"IoT knows no {self.name} yet: set up the core device before you apply")
        name = self.workflow.cloud.deployment.name
        wanted = {"name": name, "components": {**ours, **others}}
        if latest is None:
            changes = tuple(Change(each, None, spec["componentVersion"]) for each, spec in ours.items())
            return Diff(Action.CREATE, changes, {}, notes, {**wanted, "settings": {}})
        changes = self._changes(latest, name, ours)
        if latest["deploymentStatus"] == "FAILED" and not changes:
            notes = (*notes, "the target's latest deployment FAILED; emflow apply --retry-failed deploys it again")
        settings = {key: latest[key] for key in SETTINGS if latest.get(key)}
        action = Action.UPDATE if changes else Action.NONE
        outputs = {} if changes else {"id": latest["deploymentId"]}
        return Diff(action, changes, outputs, notes, {**wanted, "settings": settings})

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: Run) -> Outputs:
        try:
            made = clients("greengrassv2").create_deployment(
                targetArn=self._target(clients),
                deploymentName=diff.wanted["name"],
                components=diff.wanted["components"],
                tags=self.mark.tags(),
                **diff.wanted["settings"],
            )
        except ClientError as error:
            if not missing(error):
                raise
            raise Problem(
                f"IoT knows no {self.name}",
                where="greengrassv2:CreateDeployment",
                mend="Set up the core device first, then run it again: only the deployment is left to do.",
            ) from error
        return {"id": made["deploymentId"]}

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        latest = observed["latest"]
        if latest is None:
            return ""
        return None if self.mark.is_on(latest.get("tags") or {}) else NOT_OURS

    def delete(self, clients: Clients, run: Run) -> None:
        """Take our components off the devices.

        Deleting a deployment leaves devices as they are; what takes components off them is a next revision without
        them. It is nobody's from then on, and keeps what is not ours.
        """
        target = self._target(clients)
        latest = latest_deployment(clients, target)
        if latest is None:
            return
        ours = self._components(latest["components"], None, LATER)
        clients("greengrassv2").create_deployment(
            targetArn=target,
            deploymentName=latest.get("deploymentName") or self.workflow.cloud.deployment.name,
            components={name: spec for name, spec in latest["components"].items() if name not in ours},
            **{key: latest[key] for key in SETTINGS if latest.get(key)},
        )

    def _target(self, clients: Clients) -> str:
        return clients.arn("iot", self.workflow.cloud.deployment.target.arn_suffix)

    def _known(self, clients: Clients) -> bool:
        """Whether IoT knows the target."""
        iot, target = clients("iot"), self.workflow.cloud.deployment.target
        try:
            if target.thing:
                iot.describe_thing(thingName=target.thing)
            else:
                iot.describe_thing_group(thingGroupName=target.thing_group)
        except ClientError as error:
            if missing(error):
                return False
            raise
        return True

    def _newest(self, clients: Clients) -> dict[str, str]:
        """The newest version of each of AWS's components that the workflow asks the latest of."""
        asked = {name for name, version in self.workflow.cloud.deployment.components.items() if version == LATEST}
        if not asked:
            return {}
        pages = clients("greengrassv2").get_paginator("list_components").paginate(scope="PUBLIC")
        return {
            each["componentName"]: each["latestVersion"]["componentVersion"]
            for page in pages
            for each in page["components"]
            if each["componentName"] in asked
        }

    def _components(
        self, there: Mapping[str, Any], public: Mapping[str, str] | None, application_version: str
    ) -> dict[str, dict[str, Any]]:
        """Our part of the deployment. `latest` keeps what is there; without `public`, versions do not matter."""
        versions: dict[str, str] = {}
        for name, version in self.workflow.cloud.deployment.components.items():
            if version == LATEST:
                newest = LATER if public is None else public.get(name)
                found = there[name]["componentVersion"] if name in there else newest
                if found is None:
                    raise Problem(
                        f"AWS offers no public component {name} in {self.workflow.aws.region}",
                        where=self.id,
                        mend="Give its version under cloud.deployment.components, or choose another region.",
                    )
                versions[name] = found
        return deployment_components(self.workflow, versions, application_version)

    def _changes(self, latest: Mapping[str, Any], name: str, ours: Mapping[str, Any]) -> tuple[Change, ...]:
        there = latest["components"]
        changes = []
        if latest.get("deploymentName") != name:
            changes.append(Change("name", latest.get("deploymentName"), name))
        for component, spec in ours.items():
            old, new = _comparable(there.get(component)), _comparable(spec)
            if old is None:
                changes.append(Change(component, None, spec["componentVersion"]))
            elif old != new:
                changes.append(Change(component, old, new))
        status = latest["deploymentStatus"]
        if status == "CANCELED" or (status == "FAILED" and self.retry_failed):
            changes.append(Change("status", status, "ACTIVE"))
        return tuple(changes)


def latest_deployment(clients: Clients, target: str) -> dict[str, Any] | None:
    """The target's latest deployment, whole; None when it never had one."""
    greengrass = clients("greengrassv2")
    listed = greengrass.list_deployments(targetArn=target, historyFilter="LATEST_ONLY")["deployments"]
    if not listed:
        return None
    try:
        found: dict[str, Any] = greengrass.get_deployment(deploymentId=listed[0]["deploymentId"])
    except ClientError as error:
        if missing(error):
            return None
        raise
    return {**found, "components": found.get("components") or {}}


def _comparable(spec: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """One component of a deployment with its configuration read, so that only what means something differs."""
    if spec is None:
        return None
    update = spec.get("configurationUpdate") or {}
    return {
        "version": spec["componentVersion"],
        "configuration": json.loads(update.get("merge") or "{}"),
        "reset": sorted(update.get("reset") or []),
        "runWith": spec.get("runWith") or {},
    }
