"""The deployment: which components the target runs, with which configuration.

A target has one deployment, and a new one replaces it whole: what it does not name leaves the devices. So ours starts
from the target's latest, keeps what is not ours in it, leaves out what we once put there and the workflow has dropped,
and is made only when something would be different.
https://docs.aws.amazon.com/greengrass/v2/developerguide/revise-deployments.html
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import is_missing
from emflow.engine.resource import Action, Change, Diff, Inputs, Observed, Outputs, RunContext
from emflow.engine.scheduler import read_parallel
from emflow.problems import Problem
from emflow.recipes.deployment import SECRETS, deployment_components, public_components
from emflow.resources.greengrass import revision
from emflow.resources.greengrass.component_version import own_component_id
from emflow.resources.greengrass.revision import revised_configuration
from emflow.resources.ownership import COMPONENT, DEPLOYMENT, DEVICES, PACKAGE, PERMISSIONS, ROLE_ALIAS, Ownership
from emflow.workflow import model
from emflow.workflow.model import AGENT_COMPONENT, Workflow

LATEST = "latest"
CONFIGURED = frozenset({AGENT_COMPONENT, SECRETS})
"""AWS's components whose configuration the workflow always says, whole."""


@dataclass(frozen=True)
class Deployment:
    """What one thing or thing group is to run. `after`: resources that it needs besides what it deploys."""

    workflow: Workflow
    ownership: Ownership
    retry_failed: bool = False
    after: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        return DEPLOYMENT

    @property
    def name(self) -> str:
        return self.workflow.cloud.deployment.target.arn_suffix

    @property
    def needs(self) -> frozenset[str]:
        # The devices need the role, what it may do, its alias and the registration to use what is deployed to them.
        own = {own_component_id(component.name) for component in self.workflow.components}
        return frozenset({PACKAGE, COMPONENT, PERMISSIONS, ROLE_ALIAS, DEVICES, *own, *self.after})

    def observe(self, clients: Clients) -> Observed | None:
        target = self._target(clients)

        def revisions() -> dict[str, Any]:
            latest = revision.latest_deployment(clients, target)
            tags = revision.tags_of_last_owned(clients, target, latest, self.ownership)
            put = revision.names_in_tags(tags)
            return {
                "latest": latest,
                "put": sorted(put),
                "configured": sorted(revision.names_in_tags(tags, revision.SETTINGS_TAG)),
                "gone": revision.missing_versions(clients, latest, put),
            }

        found: dict[str, Any] = read_parallel(
            {
                "revisions": revisions,
                "public": lambda: self._newest(clients),
                "known": lambda: revision.target_exists(clients, self.name),
            }
        )
        return {**found.pop("revisions"), **found}

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        assert observed is not None  # there is always something to know: the public components
        latest: dict[str, Any] | None = observed["latest"]
        there: dict[str, Any] = latest["components"] if latest else {}
        put = set(observed["put"])
        configured = {*observed["configured"], *(each.component for each in self._given.settings)} - {*CONFIGURED}
        ours = self._components(there, observed["public"], configured, inputs)
        dropped = {name: spec for name, spec in there.items() if name in put and name not in ours}
        others = {name: spec for name, spec in there.items() if name not in ours and name not in dropped}
        lost = {name: others.pop(name) for name in observed["gone"] if name in others}
        # One of AWS's components that was there before us is not ours to take away, whatever we ask of it meanwhile.
        public = public_components(self.workflow)
        record = [name for name in ours if name not in public or name in put or name not in there]
        given = self._given
        wanted = {
            "deploymentName": given.name,
            "components": {**ours, **others},
            "deploymentPolicies": revision.desired_policies(given),
            "tags": {
                **self.ownership.tags(),
                **revision.names_as_tags(record),
                **revision.names_as_tags(configured & ours.keys(), revision.SETTINGS_TAG),
                revision.TARGET_TAG: self.name,
            },
        }
        if job := revision.desired_job(given):
            wanted["iotJobConfiguration"] = job
        if latest and latest.get("parentTargetArn"):
            wanted["parentTargetArn"] = latest["parentTargetArn"]
        notes = tuple(self._notes(observed, dropped, others, lost))
        if latest is None:
            changes = tuple(Change(name, None, spec["componentVersion"]) for name, spec in ours.items())
            return Diff(Action.CREATE, changes, {}, notes, {"request": wanted, "before": ""})
        changes = self._changes(latest, ours, dropped)
        if latest["deploymentStatus"] == "FAILED" and not changes:
            notes = (*notes, "the target's latest deployment FAILED; emflow apply --retry-failed deploys it again")
        identity = latest["deploymentId"]
        outputs = {} if changes else {"id": identity}
        action = Action.UPDATE if changes else Action.NONE
        return Diff(action, changes, outputs, notes, {"request": wanted, "before": identity})

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        target = self._target(clients)
        try:
            made = clients("greengrassv2").create_deployment(targetArn=target, **diff.parameters["request"])
        except ClientError as error:
            if not is_missing(error):
                raise
            raise Problem(
                f"IoT knows no {self.name}",
                where="greengrassv2:CreateDeployment",
                mend="Set up the core device first, then run it again: only the deployment is left to do.",
            ) from error
        except BotoCoreError:
            # Perhaps it was made and the answer was lost.
            found = self.observe(clients)
            latest = found and found["latest"]
            if not latest or latest["deploymentId"] == diff.parameters["before"] or self.diff(found, inputs).changes:
                raise
            made = latest
        return {"id": made["deploymentId"]}

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        latest = observed["latest"]
        # A thing that is gone takes no deployment, and runs nothing.
        ours = latest is not None and observed["known"] and set(observed["put"]) & latest["components"].keys()
        return None if ours else ""

    def delete(self, clients: Clients, run: RunContext) -> None:
        """Take our components off the devices."""
        revision.remove_owned_components(clients, self.name, self.ownership)

    @property
    def _given(self) -> model.Deployment:
        return self.workflow.cloud.deployment

    def _target(self, clients: Clients) -> str:
        return clients.arn("iot", self.workflow.cloud.deployment.target.arn_suffix)

    def _newest(self, clients: Clients) -> dict[str, str]:
        """The newest version of each of AWS's components that the workflow asks the latest of."""
        asked = {name for name, version in public_components(self.workflow).items() if version == LATEST}
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
        self, there: Mapping[str, Any], newest: Mapping[str, str], configured: Collection[str], inputs: Inputs
    ) -> dict[str, dict[str, Any]]:
        """Our part of the deployment. `latest` keeps the version that is there."""
        versions = {each.name: inputs(own_component_id(each.name), "version") for each in self.workflow.components}
        public = public_components(self.workflow)
        for name, version in public.items():
            if version == LATEST:
                found = there[name]["componentVersion"] if name in there else newest.get(name)
                if found is None:
                    raise Problem(
                        f"AWS offers no public component {name} in {self.workflow.aws.region}",
                        where=self.id,
                        mend="Give its version under cloud.deployment.components, or choose another region.",
                    )
                versions[name] = found
        ours = deployment_components(self.workflow, versions, inputs(COMPONENT, "version"))
        for name in public:
            before, spec = there.get(name, {}), ours[name]
            if name in configured:
                ours[name] = {"componentVersion": spec["componentVersion"], **revised_configuration(before, spec)}
            else:
                # How it is configured stays as somebody made it: the workflow never said anything of it.
                ours[name] = {**before, **spec}
        return ours

    def _notes(
        self, observed: Observed, dropped: Mapping[str, Any], others: Mapping[str, Any], lost: Mapping[str, Any]
    ) -> list[str]:
        notes = [f"removes {name} {spec['componentVersion']} from the devices" for name, spec in dropped.items()]
        notes += [
            f"keeps {name} {spec['componentVersion']}, which is not in this workflow" for name, spec in others.items()
        ]
        notes += [
            f"the next revision leaves out {name} {spec['componentVersion']}: there is no such version any more"
            for name, spec in lost.items()
        ]
        if not observed["known"]:
            notes.append(f"IoT knows no {self.name} yet: set up the core device before you apply")
        return notes

    def _changes(
        self, latest: Mapping[str, Any], ours: Mapping[str, Any], dropped: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        given, there = self.workflow.cloud.deployment, latest["components"]
        group = given.target.thing_group is not None
        changes = [
            Change("name", latest.get("deploymentName"), given.name),
            *(Change(name, spec["componentVersion"], None) for name, spec in dropped.items()),
        ]
        for component, spec in ours.items():
            old, new = revision.comparable(there.get(component)), revision.comparable(spec)
            changes.append(Change(component, old, new if old else spec["componentVersion"]))
        changes += [
            Change("policies", revision.observed_policies(latest), revision.desired_policies(given)),
            Change("rollout", revision.observed_job(latest, group=group), revision.desired_job(given)),
        ]
        status = latest["deploymentStatus"]
        if status == "CANCELED" or (status == "FAILED" and self.retry_failed):
            changes.append(Change("status", status, "ACTIVE"))
        return tuple(change for change in changes if change.old != change.new)
