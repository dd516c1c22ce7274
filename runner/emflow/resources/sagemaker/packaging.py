"""The Edge packaging job: the compiled model, signed, and the Greengrass component that it becomes.

Semantics: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEdgePackagingJob.html. The result is
always called `<model>-<version>.tar.gz`, and the component points at it for ever; so each job writes into a folder of
its own, or a changed model would overwrite what devices hold the digest of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import is_missing
from emflow.engine.resource import Action, Change, Diff, Inputs, Observed, Outputs, RunContext
from emflow.engine.scheduler import read_parallel
from emflow.problems import Problem
from emflow.resources.greengrass import component_version
from emflow.resources.greengrass.component_version import name_and_version
from emflow.resources.ownership import (
    COMPILATION,
    DIGEST_TAG,
    PACKAGE,
    PERMISSIONS,
    ROLE,
    Ownership,
    digest_of,
    tags_as_mapping,
)
from emflow.resources.sagemaker import jobs
from emflow.workflow.model import ModelComponent

PRESET = "GreengrassV2Component"
TIMEOUT = 1800.0
"""Seconds. The API knows no limit of its own; a job takes two or three minutes."""


@dataclass(frozen=True)
class Packaging:
    """A packaging.

    Args:
        base: the job's name in the workflow.
        content: digest of all that goes into the compilation, for the names of jobs.
        bucket: the components bucket, for what comes out.
        kms_key: what it is encrypted with there; None for what the bucket does by itself.
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

    @property
    def id(self) -> str:
        return PACKAGE

    @property
    def name(self) -> str:
        return f"{self.component.name} {self.component.version}"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({COMPILATION, ROLE, PERMISSIONS})

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
                "component": lambda: component_version.describe(clients, self._arn(clients)),
            }
        )
        if not found["component"] and any(job.status == "COMPLETED" for job in found["jobs"]):
            # Read side by side: the job may have made it, and ended, between the one answer and the other.
            found["component"] = component_version.describe(clients, self._arn(clients))
        if not found["jobs"] and not found["component"]:
            return None
        return {**found, "ours": self._ours(clients, found["component"], found["jobs"])}

    def made(self, clients: Clients) -> bool:
        """Whether the component is there, and was made of these very inputs."""
        return self._of_these_inputs(component_version.describe(clients, self._arn(clients)))

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        there: tuple[jobs.Job, ...] = observed["jobs"] if observed else ()
        component = observed["component"] if observed else None
        if component is None:
            there = tuple(_without_result(job) for job in there)
        wanted = self._inputs(inputs)
        if self._of_these_inputs(component):
            # Which of several compilations of the same inputs it was made of makes no difference.
            wanted |= next(({"compilation": job.inputs["compilation"]} for job in there if self._yielded(job)), {})
        diff = jobs.compare(self.id, self.base, self.digest, there, wanted, retry_failed=self.retry_failed)
        if component is not None and diff.parameters.get("create"):
            raise Problem(
                f"{self.name} exists already, made of another model, compiled otherwise or kept in another bucket; "
                "a component version never changes",
                where=self.id,
                mend="Raise cloud.package.component.version in the workflow.",
            )
        changes = list(diff.changes)
        runs = diff.action is Action.UPDATE
        state = component["state"] if component else None
        if (runs or diff.action is Action.NONE) and state != "DEPLOYABLE":
            changes.append(Change("component", state, "DEPLOYABLE"))
        if runs or (diff.action is Action.NONE and observed and observed["ours"]):
            # SageMaker makes the component, for us: we were stopped before our mark was on it, or somebody took it off.
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
                RoleArn=inputs(ROLE, "arn"),
                OutputConfig={
                    "S3OutputLocation": f"s3://{self.bucket}/models/packaged/{name}",
                    "PresetDeploymentType": PRESET,
                    "PresetDeploymentConfig": json.dumps(self.preset),
                    **({"KmsKeyId": self.kms_key} if self.kms_key else {}),
                },
                Tags=self.ownership.tag_list(self.digest),
            )

        job = jobs.run(self.id, lambda name: _describe(clients, name), create, diff, wanted, run, TIMEOUT)
        arn = self._arn(clients)
        component_version.wait_deployable(clients, arn, run, self.id)
        if diff.parameters["create"] or self._made_by_us(clients, job):
            # SageMaker made the component, for us: with our mark on it, everybody sees whose it is.
            clients("greengrassv2").tag_resource(resourceArn=arn, tags=self.ownership.tags(self.digest))
        return {"job": job.name, **job.outputs}

    def _of_these_inputs(self, component: Mapping[str, Any] | None) -> bool:
        return component is not None and component["tags"].get(DIGEST_TAG) == self.digest

    def _yielded(self, job: jobs.Job) -> bool:
        """Whether a job made a component by the name and version that are wanted."""
        return name_and_version(job.outputs.get("component", "")) == (self.component.name, self.component.version)

    def _ours(self, clients: Clients, component: dict[str, Any] | None, there: tuple[jobs.Job, ...]) -> bool:
        """Whether the component is ours: by its own tags or, as SageMaker makes it without any, by its job's."""
        if component is None or self.ownership.owns(component["tags"]):
            return component is not None
        arn = self._arn(clients)
        return any(self._made_by_us(clients, job) for job in there if job.outputs.get("component") == arn)

    def _made_by_us(self, clients: Clients, job: jobs.Job) -> bool:
        arn = clients.arn("sagemaker", f"edge-packaging-job/{job.name}")
        pages = clients("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
        return self.ownership.owns(tags_as_mapping([tag for page in pages for tag in page["Tags"]]))

    def _arn(self, clients: Clients) -> str:
        return component_version.component_arn(clients, self.component.name, self.component.version)

    def _inputs(self, inputs: Inputs) -> dict[str, Any]:
        return {
            "compilation": inputs(COMPILATION, "job"),
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
