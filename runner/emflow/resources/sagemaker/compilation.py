"""The kind `compilation`: the Neo compilation job that compiles the model for the board.

Semantics: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateCompilationJob.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import is_missing
from emflow.engine.resource import Diff, FieldLabel, Inputs, Observed, Outputs, RunContext
from emflow.json_text import to_json
from emflow.resources.iam.role import ROLE
from emflow.resources.iam.role_policies import PERMISSIONS
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.ownership import Ownership, digest_of
from emflow.resources.s3.objects import MODEL, model_object, object_exists
from emflow.resources.sagemaker import jobs
from emflow.resources.sagemaker.compilation_inputs import COMPILATION, compilation_inputs
from emflow.resources.sagemaker.packaging import packaging_of
from emflow_schema.units import seconds


@dataclass(frozen=True)
class Compilation:
    """A compilation.

    Args:
        base: the job's name in the workflow.
        source: S3 URI of the model's archive; content-addressed, so it stands for the bytes.
        shapes: input name → shape.
        bucket: the components bucket, for the result.
        timeout: seconds that the job may run.
        kms_key: encrypts the result; None for the bucket's own encryption.
        packaged: whether a package has been made of the result and exists; then the result is not needed again.
    """

    base: str
    source: str
    shapes: Mapping[str, tuple[int, ...]]
    framework: str
    target_device: str
    bucket: str
    timeout: float
    ownership: Ownership
    retry_failed: bool = False
    kms_key: str | None = None
    packaged: Callable[[Clients], bool] = field(default=lambda _: False, compare=False)

    id: ClassVar[str] = COMPILATION
    needs: ClassVar[frozenset[str]] = frozenset({MODEL, ROLE, PERMISSIONS})
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {"jobs": FieldLabel("the list of jobs")}

    @property
    def name(self) -> str:
        return self.base

    @property
    def inputs(self) -> dict[str, Any]:
        """What the result depends on."""
        return compilation_inputs(self.source, self.shapes, self.framework, self.target_device)

    @property
    def digest(self) -> str:
        return digest_of(self.inputs)

    def observe(self, clients: Clients) -> Observed | None:
        found = jobs.find(lambda name: self._describe(clients, name), self.base, self.digest)
        return {"jobs": found} if found else None

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        there = observed["jobs"] if observed else ()
        return jobs.compare(self.id, self.base, self.digest, there, self.inputs, retry_failed=self.retry_failed)

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        name = diff.parameters["job"]

        def create() -> None:
            clients("sagemaker").create_compilation_job(
                CompilationJobName=name,
                RoleArn=inputs.known(ROLE, "arn"),
                InputConfig={
                    "S3Uri": self.source,
                    "DataInputConfig": to_json(self.inputs["inputs"]),
                    "Framework": self.framework,
                },
                # A folder of its own for each job: nothing that another job made is ever overwritten.
                OutputConfig={
                    "S3OutputLocation": f"s3://{self.bucket}/models/compiled/{name}",
                    "TargetDevice": self.target_device,
                    **({"KmsKeyId": self.kms_key} if self.kms_key else {}),
                },
                StoppingCondition={"MaxRuntimeInSeconds": max(1, round(self.timeout))},
                Tags=self.ownership.tag_list(self.digest),
            )

        job = jobs.run_job(
            self.id, lambda name: self._describe(clients, name), create, diff, self.inputs, run, self.timeout
        )
        return {"job": job.name, **job.outputs}

    def _describe(self, clients: Clients, name: str) -> jobs.Job | None:
        try:
            found = clients("sagemaker").describe_compilation_job(CompilationJobName=name)
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        source, output = found.get("InputConfig", {}), found["OutputConfig"]
        completed = found["CompilationJobStatus"] == "COMPLETED"
        artifact = found["ModelArtifacts"]["S3ModelArtifacts"]
        return jobs.Job(
            name=name,
            status=found["CompilationJobStatus"],
            inputs={
                "model": source.get("S3Uri"),
                "inputs": jobs.parsed(source.get("DataInputConfig")),
                "framework": source.get("Framework"),
                "target_device": output.get("TargetDevice"),
            },
            reason=found.get("FailureReason", ""),
            outputs={"artifact": artifact} if completed else {},
            # One that we may not look at counts as being there.
            usable=not completed or object_exists(clients, artifact) is not False or self.packaged(clients),
        )


def _desired(context: BuildContext) -> Iterator[Compilation]:
    cloud = context.workflow.cloud
    yield Compilation(
        base=cloud.compile.job,
        source=model_object(context).uri,
        shapes=cloud.model.inputs,
        framework=cloud.model.framework,
        target_device=cloud.compile.target_device,
        bucket=cloud.buckets.components.name,
        timeout=seconds(cloud.compile.timeout),
        ownership=context.ownership(COMPILATION),
        retry_failed=context.retry_failed,
        kms_key=cloud.buckets.components.encryption.kms_key,
        packaged=packaging_of(context).exists,
    )


# Jobs cannot be deleted, so there is nothing to remove.
KIND = ResourceKind(desired=_desired)
