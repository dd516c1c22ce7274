"""The kind `deployment`: which components the target runs, with which configuration.

A target has one deployment, and a new one replaces it whole: devices lose what it does not name. So the workflow's
starts from the target's latest, keeps what others put there, leaves out what the workflow put there and has dropped,
and is made only when something would be different.
https://docs.aws.amazon.com/greengrass/v2/developerguide/revise-deployments.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import is_missing
from emflow.engine.resource import (
    NOT_MENTIONED,
    REMOVABLE,
    Action,
    Change,
    Diff,
    FieldLabel,
    Inputs,
    KnownAfterApply,
    Observed,
    Outputs,
    Retention,
    RunContext,
)
from emflow.engine.scheduler import read_parallel
from emflow.problems import Problem
from emflow.recipes.deployment import SECRETS, deployment_components, public_components
from emflow.resources.greengrass import revision
from emflow.resources.greengrass.component_version import COMPONENT, OLD_COMPONENTS, own_component_id
from emflow.resources.greengrass.deployment_records import (
    SETTINGS_TAG,
    TARGET_TAG,
    TargetRecords,
    latest_deployment,
    names_as_tags,
    records_of,
)
from emflow.resources.greengrass.revision import revised_configuration
from emflow.resources.iam.role_alias import OLD_ROLE_ALIASES, ROLE_ALIAS
from emflow.resources.iam.role_policies import PERMISSIONS
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.orphans import Orphan, Orphans
from emflow.resources.ownership import Ownership
from emflow.resources.sagemaker.devices import DEVICES
from emflow.resources.sagemaker.fleet import OLD_FLEETS
from emflow.resources.sagemaker.packaging import PACKAGE
from emflow.resources.tag_search import PERMISSION, find_owned
from emflow.workflow.model import AGENT_COMPONENT, Deployment, Workflow

DEPLOYMENT = "deployment/target"
OLD_TARGETS = "orphan/targets"

LATEST = "latest"
ALWAYS_CONFIGURED = frozenset({AGENT_COMPONENT, SECRETS})
"""AWS's components whose whole configuration always comes from the workflow."""


def _needed_by_devices(workflow: Workflow) -> frozenset[str]:
    """What devices use, so it exists as long as they run our components."""
    own = {own_component_id(component.name) for component in workflow.components}
    return frozenset({PACKAGE, COMPONENT, PERMISSIONS, ROLE_ALIAS, DEVICES, *own})


@dataclass(frozen=True)
class TargetDeployment:
    """What one thing or thing group is to run."""

    workflow: Workflow
    ownership: Ownership
    retry_failed: bool = False
    adopted: bool = False

    id: ClassVar[str] = DEPLOYMENT
    releases: ClassVar[frozenset[str]] = frozenset({OLD_COMPONENTS, OLD_FLEETS, OLD_ROLE_ALIASES})
    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "latest": FieldLabel("the target's latest deployment"),
        "put": FieldLabel("the record of the components that this workflow put on the target"),
        "others": FieldLabel("the record of the components that other workflows put on the target"),
        "configured": FieldLabel("the record of the settings that this workflow made on the target"),
        "gone": FieldLabel("the list of deployed components whose version no longer exists"),
        "public": FieldLabel("the newest version of a component of AWS"),
        "known": FieldLabel("whether IoT knows the target"),
    }

    @property
    def name(self) -> str:
        return self.workflow.cloud.deployment.target.arn_suffix

    @property
    def needs(self) -> frozenset[str]:
        # A device of both an earlier and the present target would refuse two versions of a component.
        return _needed_by_devices(self.workflow) | {OLD_TARGETS}

    def observe(self, clients: Clients) -> Observed | None:
        target = self._target(clients)

        def revisions() -> dict[str, Any]:
            found: dict[str, Any] = read_parallel(
                {
                    "latest": lambda: latest_deployment(clients, target),
                    "records": lambda: records_of(clients, target, self.ownership),
                }
            )
            latest, records = found["latest"], found["records"]
            return {
                "latest": latest,
                "put": sorted(records.put),
                "configured": sorted(records.configured),
                "others": dict(records.others),
                "gone": revision.missing_versions(clients, latest, records.put),
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
        configured = {*observed["configured"], *(each.component for each in self._settings.settings)} - {
            *ALWAYS_CONFIGURED
        }
        ours = self._components(there, observed["public"], configured, inputs)
        shared: Mapping[str, str] = observed["others"]
        dropped = {
            name: spec for name, spec in there.items() if name in put and name not in ours and name not in shared
        }
        others = {name: spec for name, spec in there.items() if name not in ours and name not in dropped}
        lost = {name: others.pop(name) for name in observed["gone"] if name in others}
        # A public component that was there before any workflow is never recorded, so it is never removed.
        public = public_components(self.workflow)
        record = [name for name in ours if name not in public or name in put or name in shared or name not in there]
        settings = self._settings
        wanted = {
            "deploymentName": settings.name,
            "components": {**ours, **others},
            "deploymentPolicies": revision.desired_policies(settings),
            "tags": {
                **self.ownership.tags(),
                **names_as_tags(record),
                **names_as_tags(configured & ours.keys(), SETTINGS_TAG),
                TARGET_TAG: self.name,
            },
        }
        if job := revision.desired_job(settings):
            wanted["iotJobConfiguration"] = job
        if latest and latest.get("parentTargetArn"):
            wanted["parentTargetArn"] = latest["parentTargetArn"]
        notes = tuple(self._notes(observed, dropped, others, lost))
        if latest is None:
            changes = tuple(Change(name, None, spec["componentVersion"]) for name, spec in ours.items())
            return Diff(Action.CREATE, changes, {}, notes, {"request": wanted, "before": ""})
        changes = self._changes(latest, ours, dropped)
        self._refuse_changes_of_others(there, shared, changes)
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
                mend="Set up the core device first, then run it again: only the deployment remains to be made.",
            ) from error
        except BotoCoreError:
            # It may have been made although the answer was lost.
            found = self.observe(clients)
            latest = found and found["latest"]
            if not latest or latest["deploymentId"] == diff.parameters["before"] or self.diff(found, inputs).changes:
                raise
            made = latest
        return {"id": made["deploymentId"]}

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        latest = observed["latest"]
        # A thing that does not exist any more takes no deployment, and runs nothing.
        if latest is None or not observed["known"]:
            return NOT_MENTIONED
        put, there = set(observed["put"]), latest["components"].keys()
        if put & there:
            return REMOVABLE
        # A deployment of ours may have been deleted, with what it recorded: then the devices run this nevertheless.
        named = {self.workflow.edge.component.name, self.workflow.cloud.package.component.name}
        named |= {component.name for component in self.workflow.components}
        if unknown := sorted((named & there) - observed["others"].keys()):
            return Retention.used_by_others(
                f"{self.name} runs {', '.join(unknown)}, and no deployment says that this workflow put it there"
            )
        return NOT_MENTIONED

    def delete(self, clients: Clients, run: RunContext) -> None:
        """Remove the workflow's components from the devices."""
        revision.remove_owned_components(clients, self.name, self.ownership)

    def _refuse_changes_of_others(
        self, there: Mapping[str, Any], others: Mapping[str, str], changes: Sequence[Change]
    ) -> None:
        """Check that what another workflow put on the target stays as it is, or that the user permitted the change.

        Raises:
            Problem: it would be changed without permission.
        """
        changed = [change.field for change in changes if change.field in others and change.field in there]
        if changed and not self.adopted:
            names = ", ".join(f"{name} of {others[name]}" for name in changed)
            raise Problem(
                f"{self.name} has components of other workflows, which this one would change: {names}",
                where=self.id,
                mend=f"Give each workflow of a target component names, and settings of AWS's components, that do not "
                f"contradict each other; or let emflow change them: --adopt {self.id}",
            )

    @property
    def _settings(self) -> Deployment:
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
        """The workflow's part of the deployment. `latest` keeps the version that is there."""
        versions = {each.name: _version(inputs, own_component_id(each.name)) for each in self.workflow.components}
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
        ours = deployment_components(self.workflow, versions, _version(inputs, COMPONENT))
        for name in public:
            before, spec = there.get(name, {}), ours[name]
            if name in configured:
                ours[name] = {"componentVersion": spec["componentVersion"], **revised_configuration(before, spec)}
            else:
                # Its configuration is not changed, because it never came from the workflow.
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
            f"the next revision leaves out {name} {spec['componentVersion']}: that version does not exist any more"
            for name, spec in lost.items()
        ]
        if not observed["known"]:
            notes.append(f"IoT knows no {self.name} yet: set up the core device before you apply")
        return notes

    def _changes(
        self, latest: Mapping[str, Any], ours: Mapping[str, Any], dropped: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        settings, there = self._settings, latest["components"]
        group = settings.target.thing_group is not None
        changes = [
            Change("name", latest.get("deploymentName"), settings.name),
            *(Change(name, spec["componentVersion"], None) for name, spec in dropped.items()),
        ]
        for component, spec in ours.items():
            old, new = revision.comparable(there.get(component)), revision.comparable(spec)
            changes.append(Change(component, old, new if old else spec["componentVersion"]))
        changes += [
            Change("policies", revision.observed_policies(latest), revision.desired_policies(settings)),
            Change("rollout", revision.observed_job(latest, group=group), revision.desired_job(settings)),
        ]
        status = latest["deploymentStatus"]
        if status == "CANCELED" or (status == "FAILED" and self.retry_failed):
            changes.append(Change("status", status, "ACTIVE"))
        return tuple(change for change in changes if change.old != change.new)


def _version(inputs: Inputs, component: str) -> str:
    """The version of a component to deploy; a placeholder where its own comparison has failed, and refuses the plan."""
    version = inputs.planned(component, "version")
    return str(version) if isinstance(version, KnownAfterApply) else version


@dataclass(frozen=True)
class OldTargets:
    """Finds the targets that the workflow was deployed to earlier. `current`: today's, such as `thing/core-1`."""

    current: str
    ownership: Ownership
    permission: ClassVar[str] = PERMISSION

    def find(self, clients: Clients) -> Mapping[str, Orphan]:
        deployments = find_owned(clients, "greengrass", self.ownership, [DEPLOYMENT])
        targets = {tags.get(TARGET_TAG, self.current) for tags in deployments.values()} - {self.current}
        found = read_parallel({target: partial(self._orphan, clients, target) for target in sorted(targets)})
        return {target: orphan for target, orphan in found.items() if orphan}

    def remove(self, clients: Clients, name: str, run: RunContext) -> None:
        revision.remove_owned_components(clients, name, self.ownership)

    def _orphan(self, clients: Clients, target: str) -> Orphan | None:
        arn = clients.arn("iot", target)
        latest = latest_deployment(clients, arn)
        there = latest["components"] if latest else {}
        records = records_of(clients, arn, self.ownership) if there else TargetRecords()
        owned = records.put & there.keys()
        # A thing that does not exist any more takes no deployment, and runs nothing.
        if not owned or not revision.target_exists(clients, target):
            return None
        removed = owned - records.others.keys()
        versions = {name: there[name]["componentVersion"] for name in sorted(removed)}
        notes = [f"removes {name} {version} from the devices of {target}" for name, version in versions.items()]
        notes += [f"keeps {name} on {target}, which is not in this workflow" for name in sorted(there.keys() - owned)]
        notes += [
            f"keeps {name} on {target}, which {records.others[name]} deploys too" for name in sorted(owned - removed)
        ]
        content = ", ".join(f"{name} {version}" for name, version in versions.items())
        return Orphan(content or "the record of what it put there", tuple(notes))


def _deployments(context: BuildContext) -> Iterator[TargetDeployment]:
    adopted = DEPLOYMENT in context.adopted
    yield TargetDeployment(context.workflow, context.ownership(DEPLOYMENT), context.retry_failed, adopted)


def _orphans(context: BuildContext) -> Iterator[Orphans]:
    finder = OldTargets(context.workflow.cloud.deployment.target.arn_suffix, context.ownership(DEPLOYMENT))
    needs = _needed_by_devices(context.workflow)
    yield Orphans(OLD_TARGETS, "earlier targets", finder, needs, releases=frozenset({OLD_COMPONENTS}))


KIND = ResourceKind(desired=_deployments, removable=_deployments, orphans=_orphans, adoptable=(DEPLOYMENT,))
