"""From a workflow to its resources: the one place where kinds are listed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from emflow.engine.resource import Removable, Resource
from emflow.problems import UsageProblem
from emflow.recipes.bundle import model_archive
from emflow.recipes.components import WorkflowComponent, workflow_components
from emflow.resources import ownership
from emflow.resources.greengrass.component_version import ComponentVersion, own_component_id
from emflow.resources.greengrass.core_device import CoreDevices
from emflow.resources.greengrass.deployment import Deployment
from emflow.resources.iam import policy_documents
from emflow.resources.iam.role import Role, RoleName
from emflow.resources.iam.role_alias import RoleAlias
from emflow.resources.iam.role_policies import Permissions
from emflow.resources.ownership import Ownership
from emflow.resources.prune import (
    Kind,
    Leftovers,
    OldBuckets,
    OldComponents,
    OldFleets,
    OldRoleAliases,
    OldRoles,
    OldTargets,
)
from emflow.resources.removal import PackagedVersions, StoredObjects, Versions
from emflow.resources.s3.bucket import Bucket, Expiry
from emflow.resources.s3.objects import StoredObject
from emflow.resources.sagemaker.compilation import Compilation
from emflow.resources.sagemaker.devices import Devices
from emflow.resources.sagemaker.fleet import Fleet
from emflow.resources.sagemaker.packaging import Packaging
from emflow.resources.status_queries import stem
from emflow.workflow.aws_regions import partition_of
from emflow.workflow.devices import named_devices
from emflow.workflow.model import Workflow
from emflow_schema.units import seconds

ADOPTABLE = (ownership.COMPONENTS_BUCKET, ownership.RESULTS_BUCKET, ownership.ROLE_ALIAS, ownership.FLEET)
"""What may be changed although somebody else made it, when the user says so."""


def desired_resources(
    workflow: Workflow, *, retry_failed: bool = False, adopt: Collection[str] = frozenset()
) -> tuple[Resource, ...]:
    """All resources of a workflow. Reads the model and the labels; does not talk to AWS.

    Args:
        retry_failed: repeat jobs that failed with the same inputs, under a next name.
        adopt: ids of things that somebody else made and that may be changed nevertheless.

    Raises:
        Problem: the model or the labels are missing or unusable.
        UsageProblem: an id in `adopt` is none that can be adopted.
    """
    if unknown := sorted(set(adopt) - set(ADOPTABLE)):
        raise UsageProblem(
            f"nothing called {', '.join(unknown)} can be adopted",
            where="--adopt",
            mend=f"one of: {', '.join(ADOPTABLE)}",
        )
    return (
        *_buckets(workflow, adopt),
        *_access(workflow, adopt),
        *_fleet(workflow, adopt),
        *_model(workflow, retry_failed=retry_failed),
        *_components(workflow, retry_failed=retry_failed),
        Deployment(workflow, _mark(workflow, ownership.DEPLOYMENT), retry_failed, frozenset({ownership.OLD_TARGETS})),
        *_leftovers(workflow, _NEEDS),
    )


def removable_resources(workflow: Workflow) -> tuple[Removable, ...]:
    """What `destroy` looks at: all that this workflow, or an earlier form of it, may have made.

    Reads no file beside the workflow.
    """
    package, buckets = workflow.cloud.package, _buckets(workflow, ())
    own = {own_component_id(each.name): each.name for each in workflow.components}
    return (
        *buckets,
        StoredObjects(
            ownership.OBJECTS,
            "models and bundles",
            workflow.cloud.buckets.components.name,
            ("models/uncompiled/", "artifacts/"),
            _mark(workflow, ownership.COMPONENTS_BUCKET),
        ),
        *_access(workflow, ()),
        *_fleet(workflow, (), named=False),
        PackagedVersions(
            ownership.PACKAGE,
            package.component.name,
            _mark(workflow, ownership.PACKAGE),
            frozenset({ownership.ROLE, ownership.PERMISSIONS, ownership.COMPONENTS_BUCKET}),
            stem(package.job),
        ),
        *(
            Versions(
                name, component, _mark(workflow, name), frozenset({ownership.OBJECTS, ownership.COMPONENTS_BUCKET})
            )
            for name, component in {ownership.COMPONENT: workflow.edge.component.name, **own}.items()
        ),
        Deployment(
            workflow,
            _mark(workflow, ownership.DEPLOYMENT),
            after=frozenset({ownership.OLD_TARGETS, ownership.OLD_COMPONENTS}),
        ),
        *_leftovers(workflow, _NEEDS_REMOVED),
    )


_NEEDS: Mapping[str, frozenset[str]] = {
    ownership.OLD_COMPONENTS: frozenset({ownership.DEPLOYMENT}),
    ownership.OLD_FLEETS: frozenset({ownership.DEPLOYMENT}),
    ownership.OLD_ROLE_ALIASES: frozenset({ownership.DEPLOYMENT}),
    ownership.OLD_ROLES: frozenset({ownership.OLD_FLEETS, ownership.OLD_ROLE_ALIASES}),
}
"""What has to be done before leftovers go: devices stop to use them first. Old targets go before the deployment: a
device of both the old and the new one would refuse two versions of a component."""

_NEEDS_REMOVED: Mapping[str, frozenset[str]] = {
    ownership.OLD_TARGETS: frozenset({ownership.OLD_COMPONENTS}),
    ownership.OLD_FLEETS: frozenset({ownership.OLD_ROLES, ownership.OLD_BUCKETS}),
    ownership.OLD_ROLE_ALIASES: frozenset({ownership.OLD_ROLES}),
}
"""The same for `destroy`, which goes in reverse."""


def _leftovers(workflow: Workflow, needs: Mapping[str, frozenset[str]]) -> tuple[Leftovers, ...]:
    fleet, devices = _fleet(workflow, (), named=False)
    role, _, alias = _access(workflow, ())
    own = {component.name for component in workflow.components}
    names = frozenset({workflow.edge.component.name, workflow.cloud.package.component.name, *own})
    kinds: dict[str, tuple[str, Kind]] = {
        ownership.OLD_TARGETS: (
            "earlier targets",
            OldTargets(workflow.cloud.deployment.target.arn_suffix, _mark(workflow, ownership.DEPLOYMENT)),
        ),
        ownership.OLD_COMPONENTS: ("dropped components", OldComponents(names, _mark(workflow, ownership.COMPONENT))),
        ownership.OLD_FLEETS: ("earlier fleets", OldFleets(fleet, devices)),
        ownership.OLD_ROLE_ALIASES: ("earlier role aliases", OldRoleAliases(alias)),
        ownership.OLD_ROLES: ("earlier roles", OldRoles(role)),
        ownership.OLD_BUCKETS: ("earlier buckets", OldBuckets(_buckets(workflow, ()))),
    }
    before_deployment = Deployment(workflow, _mark(workflow, ownership.DEPLOYMENT)).needs
    needed = {ownership.OLD_TARGETS: before_deployment, **needs}
    return tuple(
        Leftovers(name, what, kind, needed.get(name, frozenset()), data=name == ownership.OLD_BUCKETS)
        for name, (what, kind) in kinds.items()
    )


def core_devices(workflow: Workflow) -> tuple[Removable, ...]:
    """What only `destroy` knows, and only when the user says so; before all others, so that it goes last."""
    return (CoreDevices(workflow.cloud.deployment.target),)


def _mark(workflow: Workflow, resource: str) -> Ownership:
    return Ownership(workflow.metadata.name, resource, workflow.aws.tags)


def _buckets(workflow: Workflow, adopt: Collection[str]) -> tuple[Bucket, ...]:
    buckets, fleet, prefix = workflow.cloud.buckets, workflow.cloud.fleet.name, workflow.edge.capture.prefix
    days = buckets.inference_results.expire_captures
    # Captures lie under <prefix>/<fleet>/<model>/, so fleets that share a bucket expire each on its own.
    expiry = Expiry(f"{prefix.strip('/')}/{fleet}/", round(seconds(days) / 86400)) if days else None
    region, partition = workflow.aws.region, partition_of(workflow.aws.region)
    return tuple(
        Bucket(
            name=bucket.name,
            region=region,
            partition=partition,
            ownership=_mark(workflow, resource),
            adopted=resource in adopt,
            kms_key=bucket.encryption.kms_key,
            versioning=bucket.versioning,
            expiry=expiry if bucket is buckets.inference_results else None,
        )
        for resource, bucket in (
            (ownership.RESULTS_BUCKET, buckets.inference_results),
            (ownership.COMPONENTS_BUCKET, buckets.components),
        )
    )


def _access(workflow: Workflow, adopt: Collection[str]) -> tuple[Role, Permissions, RoleAlias]:
    role, partition = workflow.cloud.role, partition_of(workflow.aws.region)
    least = role.policies == "least-privilege"
    # An alias that the core device has already keeps its duration, and its role its session.
    duration = None if role.from_alias else round(seconds(role.credential_duration))
    name = RoleName(role.name, role.from_alias)
    return (
        Role(name, _mark(workflow, ownership.ROLE), duration or 0),
        Permissions(
            role=name,
            workflow=workflow.metadata.name,
            inline=policy_documents.least_privilege(workflow, partition)
            if least
            else policy_documents.beside_the_workshops(workflow),
            managed=() if least else policy_documents.managed_arns(partition),
            unneeded=policy_documents.managed_arns(partition) if least else (),
        ),
        RoleAlias(
            role.from_alias or role.alias,
            duration,
            _mark(workflow, ownership.ROLE_ALIAS),
            ownership.ROLE_ALIAS in adopt,
        ),
    )


def _fleet(workflow: Workflow, adopt: Collection[str], *, named: bool = True) -> tuple[Fleet, Devices]:
    """The fleet and its devices. `named`: those of the workflow; else only as they are found in the fleet."""
    fleet = workflow.cloud.fleet
    results = workflow.cloud.buckets.inference_results
    names, group = (named_devices(workflow), fleet.thing_group) if named else ((), None)
    devices = Devices(fleet.name, names, _mark(workflow, ownership.DEVICES), group)
    return (
        Fleet(
            name=fleet.name,
            description=fleet.description,
            location=f"s3://{results.name}",
            ownership=_mark(workflow, ownership.FLEET),
            adopted=ownership.FLEET in adopt,
            kms_key=results.encryption.kms_key,
            devices=None if named else devices,
        ),
        devices,
    )


def _model(workflow: Workflow, *, retry_failed: bool) -> tuple[Resource, ...]:
    cloud = workflow.cloud
    archive = model_archive(workflow)
    # The workshop's folder and name, with the content's digest between them; of the name, what S3 calls safe in a key.
    key = f"models/uncompiled/{archive.sha256}/{re.sub(r'[^A-Za-z0-9._-]', '_', archive.name)}"
    bucket, name = cloud.buckets.components.name, workflow.metadata.name
    stored = StoredObject(ownership.MODEL, bucket, key, archive.sha256, name, archive.data)
    compilation = Compilation(
        base=cloud.compile.job,
        source=stored.uri,
        shapes=cloud.model.inputs,
        framework=cloud.model.framework,
        target_device=cloud.compile.target_device,
        bucket=bucket,
        timeout=seconds(cloud.compile.timeout),
        ownership=_mark(workflow, ownership.COMPILATION),
        retry_failed=retry_failed,
        kms_key=cloud.buckets.components.encryption.kms_key,
    )
    packaging = Packaging(
        base=cloud.package.job,
        model=cloud.model.name,
        version=cloud.model.version,
        component=cloud.package.component,
        content=compilation.digest,
        bucket=bucket,
        ownership=_mark(workflow, ownership.PACKAGE),
        retry_failed=retry_failed,
        kms_key=cloud.buckets.components.encryption.kms_key,
    )
    return stored, replace(compilation, packaged=packaging.made), packaging


def _components(workflow: Workflow, *, retry_failed: bool) -> tuple[Resource, ...]:
    """What stores each zip of ours, and what makes a component version of it."""
    resources: list[Resource] = []
    for ours in workflow_components(workflow):
        component = ownership.COMPONENT if ours.is_application else own_component_id(ours.name)
        stored = _bundle(workflow, ours, ownership.BUNDLE if ours.is_application else f"{component}/bundle")
        needs = frozenset({stored.id} if stored else ())
        resources += [stored] if stored else []
        resources.append(ComponentVersion(ours, _mark(workflow, component), needs, retry_failed))
    return tuple(resources)


def _bundle(workflow: Workflow, ours: WorkflowComponent, resource: str) -> StoredObject | None:
    if ours.bundle is None:
        return None
    bucket, name = workflow.cloud.buckets.components.name, workflow.metadata.name
    return StoredObject(resource, bucket, ours.bundle_key, ours.bundle.sha256, name, ours.bundle.data)
