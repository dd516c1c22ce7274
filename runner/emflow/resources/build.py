"""From a workflow to its resources: the one place where kinds are listed."""

from __future__ import annotations

from collections.abc import Collection

from emflow.engine.clients import partition_of
from emflow.engine.resource import Resource
from emflow.problems import UsageProblem
from emflow.recipes.bundle import application_bundle, bundle_key, model_archive
from emflow.resources import marks, policies
from emflow.resources.application import Application
from emflow.resources.bucket import Bucket
from emflow.resources.compilation import Compilation
from emflow.resources.deployment import Deployment
from emflow.resources.devices import Devices
from emflow.resources.fleet import Fleet
from emflow.resources.marks import Mark
from emflow.resources.packaging import Packaging
from emflow.resources.permissions import Permissions
from emflow.resources.role import Role
from emflow.resources.role_alias import RoleAlias
from emflow.resources.stored import StoredObject
from emflow.workflow.model import Workflow
from emflow.workflow.units import seconds

ADOPTABLE = (marks.COMPONENTS_BUCKET, marks.RESULTS_BUCKET, marks.ROLE_ALIAS, marks.FLEET)
"""What may be changed although somebody else made it, when the user says so."""


def build(
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
        *_application(workflow, retry_failed=retry_failed),
        Deployment(workflow, _mark(workflow, marks.DEPLOYMENT), retry_failed),
    )


def _mark(workflow: Workflow, resource: str) -> Mark:
    return Mark(workflow.metadata.name, resource)


def _buckets(workflow: Workflow, adopt: Collection[str]) -> tuple[Resource, ...]:
    buckets = workflow.cloud.buckets
    names = {marks.RESULTS_BUCKET: buckets.inference_results.name, marks.COMPONENTS_BUCKET: buckets.components.name}
    region, partition = workflow.aws.region, partition_of(workflow.aws.region)
    return tuple(
        Bucket(name, region, partition, _mark(workflow, resource), resource in adopt)
        for resource, name in names.items()
    )


def _access(workflow: Workflow, adopt: Collection[str]) -> tuple[Resource, ...]:
    role, partition = workflow.cloud.role, partition_of(workflow.aws.region)
    least = role.policies == "least-privilege"
    duration = round(seconds(role.credential_duration))
    return (
        Role(role.name, _mark(workflow, marks.ROLE), duration),
        Permissions(
            role=role.name,
            workflow=workflow.metadata.name,
            inline=policies.least_privilege(workflow, partition) if least else None,
            managed=() if least else policies.managed_arns(partition),
        ),
        RoleAlias(role.alias, duration, _mark(workflow, marks.ROLE_ALIAS), marks.ROLE_ALIAS in adopt),
    )


def _fleet(workflow: Workflow, adopt: Collection[str]) -> tuple[Resource, ...]:
    fleet = workflow.cloud.fleet
    location = f"s3://{workflow.cloud.buckets.inference_results.name}"
    return (
        Fleet(fleet.name, fleet.description, location, _mark(workflow, marks.FLEET), marks.FLEET in adopt),
        Devices(fleet.name, fleet.devices, _mark(workflow, marks.DEVICES)),
    )


def _model(workflow: Workflow, *, retry_failed: bool) -> tuple[Resource, ...]:
    cloud = workflow.cloud
    archive = model_archive(workflow)
    # The workshop's folder and name, with the content's digest between them.
    key = f"models/uncompiled/{archive.sha256}/{archive.name}"
    stored = StoredObject(marks.MODEL, cloud.buckets.components.name, key, archive.sha256, archive.data)
    compilation = Compilation(
        base=cloud.compile.job,
        source=stored.uri,
        shapes=cloud.model.inputs,
        framework=cloud.model.framework,
        target_device=cloud.compile.target_device,
        bucket=cloud.buckets.components.name,
        timeout=seconds(cloud.compile.timeout),
        mark=_mark(workflow, marks.COMPILATION),
        retry_failed=retry_failed,
    )
    packaging = Packaging(
        base=cloud.package.job,
        model=cloud.model.name,
        version=cloud.model.version,
        component=cloud.package.component,
        content=compilation.digest,
        bucket=cloud.buckets.components.name,
        mark=_mark(workflow, marks.PACKAGE),
        retry_failed=retry_failed,
    )
    return stored, compilation, packaging


def _application(workflow: Workflow, *, retry_failed: bool) -> tuple[Resource, ...]:
    bundle = application_bundle(workflow)
    bucket = workflow.cloud.buckets.components.name
    stored = StoredObject(marks.BUNDLE, bucket, bundle_key(workflow, bundle), bundle.sha256, bundle.data)
    return stored, Application(workflow, stored.uri, _mark(workflow, marks.COMPONENT), retry_failed)
