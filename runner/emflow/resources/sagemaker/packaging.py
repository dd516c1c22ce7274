"""The kind `package`: the Edge packaging job that signs the compiled model, and the Greengrass component it becomes.

Semantics: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEdgePackagingJob.html. The result is
always called `<model>-<version>.tar.gz`, and the component refers to it for ever; so each job writes into a folder of
its own, or a changed model would overwrite a file whose digest devices have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import is_missing
from emflow.engine.resource import (
    Action,
    Change,
    Diff,
    FieldLabel,
    Inputs,
    Observed,
    Outputs,
    RunContext,
)
from emflow.engine.scheduler import read_parallel
from emflow.json_text import to_json
from emflow.problems import Problem
from emflow.resources.greengrass import component_queries
from emflow.resources.greengrass.component_queries import name_and_version
from emflow.resources.greengrass.component_version import RemovableVersions
from emflow.resources.iam.role import ROLE
from emflow.resources.iam.role_policies import PERMISSIONS
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.ownership import (
    DIGEST_TAG,
    OWNED_LABEL,
    WORKFLOW_TAG,
    Ownership,
    digest_of,
    refuse_shared_name,
    tags_as_mapping,
)
from emflow.resources.s3.bucket import COMPONENTS_BUCKET
from emflow.resources.s3.objects import object_exists
from emflow.resources.sagemaker import jobs
from emflow.resources.sagemaker.compilation_inputs import COMPILATION, compilation_digest
from emflow.workflow.model import ModelComponent

PACKAGE = "model/package"
PRESET = "GreengrassV2Component"
NEWEST_VERSIONS = 20
"""Of how many versions of a component, from the newest, it is looked at who made them."""

TIMEOUT = 1800.0
"""Seconds. The API knows no limit of its own; a job takes two or three minutes."""


@dataclass(frozen=True)
class Packaging:
    """A packaging.

    Args:
        base: the job's name in the workflow.
        content: digest of all that goes into the compilation, for the names of jobs.
        bucket: the components bucket, for the result.
        kms_key: encrypts the result; None for the bucket's own encryption.
        adopted: the component may get a version although only others have made versions of it.
    """

    base: str
    model: str
    version: str
    component: ModelComponent
    content: str
    bucket: str
    ownership: Ownership
    retry_failed: bool = False
    kms_key: str | None = None
    adopted: bool = False

    id: ClassVar[str] = PACKAGE
    needs: ClassVar[frozenset[str]] = frozenset({COMPILATION, ROLE, PERMISSIONS})
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "jobs": FieldLabel("the list of jobs"),
        "component": FieldLabel("the component version in Greengrass"),
        "versions": FieldLabel("the list of versions of the component", named_items=True),
        "artifacts": FieldLabel("the list of objects that the component version refers to", named_items=True),
        "ours": OWNED_LABEL,
    }

    @property
    def name(self) -> str:
        return f"{self.component.name} {self.component.version}"

    @property
    def preset(self) -> dict[str, str]:
        """PresetDeploymentConfig, which the API takes as JSON text."""
        description = {"ComponentDescription": self.component.description} if self.component.description else {}
        return {"ComponentName": self.component.name, "ComponentVersion": self.component.version, **description}

    @property
    def digest(self) -> str:
        return digest_of([self.content, self.model, self.version, self.preset])

    def observe(self, clients: Clients) -> Observed | None:
        found: dict[str, Any] = read_parallel(
            {
                "jobs": lambda: jobs.find(lambda name: _describe(clients, name), self.base, self.digest),
                "component": lambda: component_queries.describe(clients, self._arn(clients)),
                "artifacts": lambda: self._artifacts(clients),
                "versions": lambda: self._versions(clients),
            }
        )
        if not found["component"] and any(job.status == "COMPLETED" for job in found["jobs"]):
            # Read in parallel: the job may have made it, and ended, between the one answer and the other.
            found["component"] = component_queries.describe(clients, self._arn(clients))
        if not found["jobs"] and not found["component"] and not found["versions"]:
            return None
        return {**found, "ours": self._ours(clients, found)}

    def exists(self, clients: Clients) -> bool:
        """Whether the component exists, and was made of exactly these inputs."""
        return self._of_these_inputs(component_queries.describe(clients, self._arn(clients)))

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        there: tuple[jobs.Job, ...] = observed["jobs"] if observed else ()
        component = observed["component"] if observed else None
        artifacts: Mapping[str, bool | None] = observed["artifacts"] if observed else {}
        wanted = self._inputs(inputs)
        if self._of_these_inputs(component):
            # Which of several compilations of the same inputs it was made of makes no difference. A job of other
            # inputs may have made this version too, before it was removed.
            alike = [job for job in reversed(there) if self._yielded(job) and _differ_in_compilation(job, wanted)]
            made = [job for job in alike if job.outputs["artifact"] in artifacts]
            wanted |= next(({"compilation": job.inputs["compilation"]} for job in (*made, *alike)), {})
        else:
            there = tuple(
                job if component and _is_source(job.outputs.get("artifact", ""), artifacts) else _without_result(job)
                for job in there
            )
        diff = jobs.compare(self.id, self.base, self.digest, there, wanted, retry_failed=self.retry_failed)
        if component is None and diff.parameters.get("create"):
            versions = observed["versions"] if observed else {}
            refuse_shared_name(self.component.name, self.id, versions, self.ownership, adopted=self.adopted)
        if component is not None and diff.parameters.get("create"):
            raise Problem(
                f"{self.name} exists already, made of another model, compiled otherwise or kept in another bucket; "
                "a component version never changes",
                where=self.id,
                mend="Raise cloud.package.component.version in the workflow.",
            )
        if component is not None and (lost := [uri for uri, there in artifacts.items() if there is False]):
            raise Problem(
                f"{self.name} exists, but not what it refers to, {lost[0]}: no device can install it",
                where=self.id,
                mend="Raise cloud.package.component.version in the workflow, so that the model is packaged again; or "
                "restore the object as it was.",
            )
        unknown = [
            f"whether {uri} exists is not known: S3 refuses the look" for uri in artifacts if artifacts[uri] is None
        ]
        diff = replace(diff, notes=(*diff.notes, *unknown))
        changes = list(diff.changes)
        runs = diff.action is Action.UPDATE
        state = component["state"] if component else None
        if (runs or diff.action is Action.NONE) and state != "DEPLOYABLE":
            changes.append(Change("component", state, "DEPLOYABLE"))
        if runs or (diff.action is Action.NONE and observed and observed["ours"]):
            # SageMaker makes the component for the workflow: the run ended before the tags were on it, or somebody
            # removed them.
            tags = component["tags"] if component else {}
            if not self.ownership.owns(tags):
                changes.append(Change("tags", tags, self.ownership.tags(self.digest)))
        if tuple(changes) == diff.changes:
            return diff
        wanted_job = {"job": diff.outputs["job"], "create": False}
        return Diff(Action.UPDATE, tuple(changes), diff.outputs, diff.notes, wanted_job)

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        name, wanted = diff.parameters["job"], self._inputs(inputs)

        def create() -> None:
            clients("sagemaker").create_edge_packaging_job(
                EdgePackagingJobName=name,
                CompilationJobName=wanted["compilation"],
                ModelName=self.model,
                ModelVersion=self.version,
                RoleArn=inputs.known(ROLE, "arn"),
                OutputConfig={
                    "S3OutputLocation": f"s3://{self.bucket}/models/packaged/{name}",
                    "PresetDeploymentType": PRESET,
                    "PresetDeploymentConfig": to_json(self.preset),
                    **({"KmsKeyId": self.kms_key} if self.kms_key else {}),
                },
                Tags=self.ownership.tag_list(self.digest),
            )

        job = jobs.run_job(self.id, lambda name: _describe(clients, name), create, diff, wanted, run, TIMEOUT)
        arn = self._arn(clients)
        component_queries.wait_deployable(clients, arn, run, self.id)
        if diff.parameters["create"] or self._made_by_us(clients, job):
            # SageMaker made the component for the workflow: the tags tell everybody whose it is.
            clients("greengrassv2").tag_resource(resourceArn=arn, tags=self.ownership.tags(self.digest))
        return {"job": job.name, **job.outputs}

    def _artifacts(self, clients: Clients) -> dict[str, bool | None]:
        """The objects that the component version refers to, and whether they exist; None where that is not known."""
        stored = component_queries.stored_artifacts(clients, self._arn(clients))
        return read_parallel({uri: partial(object_exists, clients, uri, sha256) for uri, sha256 in stored.items()})

    def _versions(self, clients: Clients) -> dict[str, dict[str, str]]:
        """The newest versions of the component and their tags; what the workflow's own jobs made has its tags."""
        there = component_queries.list_versions(clients, self.component.name)[:NEWEST_VERSIONS]
        if not there or self.component.version in there:
            return {}
        own = PackagedVersions(PACKAGE, self.component.name, self.ownership, job=self.base)
        ours = own.owned(clients)
        if ours:
            return {version: self.ownership.tags() for version in ours}
        name = self.component.name
        described = read_parallel(
            {
                version: partial(
                    component_queries.describe, clients, component_queries.component_arn(clients, name, version)
                )
                for version in there
            }
        )
        return {version: each["tags"] for version, each in described.items() if each}

    def _of_these_inputs(self, component: Mapping[str, Any] | None) -> bool:
        return component is not None and component["tags"].get(DIGEST_TAG) == self.digest

    def _yielded(self, job: jobs.Job) -> bool:
        """Whether a job made a component by the name and version that are wanted."""
        return name_and_version(job.outputs.get("component", "")) == (self.component.name, self.component.version)

    def _ours(self, clients: Clients, found: Mapping[str, Any]) -> bool:
        """Whether the component is ours: by its own tags or, as SageMaker makes it without any, by its job's."""
        component, arn = found["component"], self._arn(clients)
        if component is None or WORKFLOW_TAG in component["tags"]:
            return component is not None and self.ownership.owns(component["tags"])
        yielded = [job for job in found["jobs"] if job.outputs.get("component") == arn]
        made = [job for job in yielded if _is_source(job.outputs["artifact"], found["artifacts"])]
        return any(self._made_by_us(clients, job) for job in made)

    def _made_by_us(self, clients: Clients, job: jobs.Job) -> bool:
        arn = clients.arn("sagemaker", f"edge-packaging-job/{job.name}")
        pages = clients("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
        return self.ownership.owns(tags_as_mapping([tag for page in pages for tag in page["Tags"]]))

    def _arn(self, clients: Clients) -> str:
        return component_queries.component_arn(clients, self.component.name, self.component.version)

    def _inputs(self, inputs: Inputs) -> dict[str, Any]:
        return {
            "compilation": inputs.planned(COMPILATION, "job"),
            "model": self.model,
            "version": self.version,
            "component": self.preset,
        }


def _describe(clients: Clients, name: str) -> jobs.Job | None:
    try:
        found = clients("sagemaker").describe_edge_packaging_job(EdgePackagingJobName=name)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    output, preset = found.get("OutputConfig", {}), found.get("PresetDeploymentOutput", {})
    status, reason = found["EdgePackagingJobStatus"], found.get("EdgePackagingJobStatusMessage", "")
    if preset.get("Status") == "FAILED":
        status, reason = "FAILED", f"the component was not made: {preset.get('StatusMessage') or reason}"
    return jobs.Job(
        name=name,
        status=status,
        inputs={
            "compilation": found.get("CompilationJobName"),
            "model": found.get("ModelName"),
            "version": found.get("ModelVersion"),
            "component": jobs.parsed(output.get("PresetDeploymentConfig")),
        },
        reason=reason,
        outputs={"artifact": found.get("ModelArtifact", ""), "component": preset.get("Artifact", "")}
        if status == "COMPLETED"
        else {},
    )


def _without_result(job: jobs.Job) -> jobs.Job:
    """A completed job whose component is gone."""
    return replace(job, usable=job.status != "COMPLETED")


def _differ_in_compilation(job: jobs.Job, wanted: Mapping[str, Any]) -> bool:
    """Whether a job's inputs are those that are wanted, but for the compilation at most."""
    return {**job.inputs, "compilation": wanted["compilation"]} == wanted


def _is_source(artifact: str, stored: Collection[str]) -> bool:
    """Whether a component version was made of a job's artifact, by what it refers to; so too where that is not known.

    A version that was removed can be made again, so several jobs may have made one by the same name.
    """
    return not stored or artifact in stored


@dataclass(frozen=True)
class PackagedVersions(RemovableVersions):
    """The model component's versions. SageMaker makes them without tags: what the workflow's jobs made counts too.

    Args:
        job: the name of the workflow's jobs, which others continue (`jobs.is_name_of`).
    """

    job: str = ""

    def owned(self, clients: Clients) -> list[str]:
        there = component_queries.list_versions(clients, self.name)
        arns = {version: component_queries.component_arn(clients, self.name, version) for version in there}
        found: dict[str, Any] = read_parallel(
            {version: partial(component_queries.describe, clients, arn) for version, arn in arns.items()}
        )
        tags = {version: each["tags"] for version, each in found.items() if each}
        untagged = [version for version in tags if WORKFLOW_TAG not in tags[version]]
        made = self._made(clients) if untagged else []
        own = [version for version in untagged if self._is_made(clients, arns[version], made)]
        return [version for version in tags if version in own or self.ownership.owns(tags[version])]

    def _is_made(self, clients: Clients, arn: str, made: Sequence[Mapping[str, str]]) -> bool:
        version = component_queries.name_and_version(arn)
        jobs_of_it = [job for job in made if component_queries.name_and_version(job["component"]) == version]
        stored = component_queries.stored_artifacts(clients, arn) if jobs_of_it else {}
        return any(_is_source(job["artifact"], stored) for job in jobs_of_it)

    def _made(self, clients: Clients) -> list[Mapping[str, str]]:
        """The `component` (ARN) and the `artifact` (S3 URI) of each packaging job of ours that made a component."""
        listing = clients("sagemaker").get_paginator("list_edge_packaging_jobs")
        pages = listing.paginate(NameContains=jobs.name_stem(self.job), PaginationConfig={"PageSize": 100})
        names = [str(job["EdgePackagingJobName"]) for page in pages for job in page["EdgePackagingJobSummaries"]]
        reads: dict[str, Callable[[], Mapping[str, str]]] = {
            name: partial(self._made_by, clients, name) for name in names if jobs.is_name_of(name, self.job)
        }
        return [made for made in read_parallel(reads).values() if made]

    def _made_by(self, clients: Clients, name: str) -> Mapping[str, str]:
        sagemaker = clients("sagemaker")
        job: Mapping[str, Any] = sagemaker.describe_edge_packaging_job(EdgePackagingJobName=name)
        component = str((job.get("PresetDeploymentOutput") or {}).get("Artifact") or "")
        if not component:
            return {}
        arn = job.get("EdgePackagingJobArn") or clients.arn("sagemaker", f"edge-packaging-job/{name}")
        pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
        if not self.ownership.owns(tags_as_mapping([tag for page in pages for tag in page["Tags"]])):
            return {}
        return {"component": component, "artifact": job.get("ModelArtifact", "")}


def packaging_of(context: BuildContext) -> Packaging:
    """The workflow's packaging. Raises Problem when the model is missing or unusable."""
    cloud = context.workflow.cloud
    return Packaging(
        base=cloud.package.job,
        model=cloud.model.name,
        version=cloud.model.version,
        component=cloud.package.component,
        content=compilation_digest(context),
        bucket=cloud.buckets.components.name,
        ownership=context.ownership(PACKAGE),
        retry_failed=context.retry_failed,
        kms_key=cloud.buckets.components.encryption.kms_key,
        adopted=PACKAGE in context.adopted,
    )


def _desired(context: BuildContext) -> Iterator[Packaging]:
    yield packaging_of(context)


def _removable(context: BuildContext) -> Iterator[PackagedVersions]:
    package = context.workflow.cloud.package
    needs = frozenset({ROLE, PERMISSIONS, COMPONENTS_BUCKET})
    yield PackagedVersions(PACKAGE, package.component.name, context.ownership(PACKAGE), needs, package.job)


KIND = ResourceKind(desired=_desired, removable=_removable, adoptable=(PACKAGE,))
