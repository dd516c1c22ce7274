"""Compilation jobs.

Semantics: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateCompilationJob.html. A name can be used
only once, even after the job is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from botocore.exceptions import ClientError

from emflow.json_text import to_json
from emflow_emulator.aws.account_region import AccountRegion
from emflow_emulator.aws.errors import ApiError, invalid
from emflow_emulator.aws.internal_clients import InternalClients, S3Object, folder
from emflow_emulator.aws.paging import page
from emflow_emulator.aws.protocol import Handler, Params
from emflow_emulator.aws.sagemaker import neo
from emflow_emulator.aws.sagemaker.jobs import ENDED, Job, JobFailed, pick, sort
from emflow_emulator.aws.sagemaker.tags import Tags


@dataclass
class CompilationJob:
    """One compilation: its request, its state and its result."""

    arn: str
    request: Params
    job: Job | None = None
    artifact: str = ""
    digest: str = ""
    derived: str = ""

    @property
    def name(self) -> str:
        return str(self.request["CompilationJobName"])

    @property
    def run(self) -> Job:
        assert self.job is not None
        return self.job


class CompilationJobs:
    """The compilation jobs of one region."""

    def __init__(self, account_region: AccountRegion, clients: InternalClients, tags: Tags, job_seconds: float) -> None:
        self._account_region = account_region
        self._clients = clients
        self._tags = tags
        self._seconds = job_seconds
        self._all: dict[str, CompilationJob] = {}
        self._used: set[str] = set()

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateCompilationJob": self._create,
            "DescribeCompilationJob": self._describe,
            "ListCompilationJobs": self._list,
            "StopCompilationJob": self._stop,
            "DeleteCompilationJob": self._delete,
        }

    def find(self, name: str) -> CompilationJob | None:
        return self._all.get(name)

    def stop(self) -> None:
        """Stop all jobs, and wait for their end."""
        for each in self._all.values():
            each.run.stop()
        for each in self._all.values():
            each.run.join()

    def _create(self, params: Params) -> dict[str, Any]:
        name = params["CompilationJobName"]
        arn = self._account_region.arn("sagemaker", f"compilation-job/{name}")
        if name in self._used:
            raise ApiError(
                "ResourceInUse",
                "Compilation job names must be unique within an AWS account and region, and a compilation job with "
                f"this name already exists ({arn})",
            )
        _check_input(params)
        _check_target(params["OutputConfig"])
        self._clients.check_role(params["RoleArn"])
        compilation = CompilationJob(arn, params)
        self._used.add(name)
        self._all[name] = compilation
        self._tags.new(arn, params)
        compilation.job = Job(name, self._seconds, lambda: self._compile(compilation))
        return {"CompilationJobArn": arn}

    def _compile(self, compilation: CompilationJob) -> None:
        request = compilation.request
        source = request["InputConfig"]["S3Uri"]
        where = S3Object.at(source)
        try:
            archive = self._clients.read(where)
        except ClientError as error:
            raise JobFailed(f"ClientError: cannot read {source}: {_s3(error)}") from error
        network = neo.read(archive, source)
        wanted = request["InputConfig"].get("DataInputConfig")
        if wanted is not None:
            neo.check(network, neo.parse_inputs(wanted))
        else:
            compilation.derived = to_json({tensor.name: tensor.shape for tensor in network.inputs})
        target = _target(request["OutputConfig"])
        stem = where.key.rpartition("/")[2].removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
        result = folder(request["OutputConfig"]).child(f"{stem}-{'_'.join(target.values())}.tar.gz")
        compiled = neo.output(network, target)
        try:
            self._clients.write(result, compiled)
        except ClientError as error:
            raise JobFailed(f"ClientError: cannot write {result}: {_s3(error)}") from error
        compilation.digest = sha256(compiled).hexdigest()
        compilation.artifact = str(result)

    def _describe(self, params: Params) -> dict[str, Any]:
        compilation = self._at(params)
        request, run = compilation.request, compilation.run
        done = run.status == "COMPLETED"
        return {
            **{
                key: request.get(key)
                for key in (
                    "CompilationJobName",
                    "RoleArn",
                    "InputConfig",
                    "OutputConfig",
                    "StoppingCondition",
                    "VpcConfig",
                    "ModelPackageVersionArn",
                )
            },
            "CompilationJobArn": compilation.arn,
            "CompilationJobStatus": run.status,
            "CompilationStartTime": run.started,
            "CompilationEndTime": run.ended,
            "CreationTime": run.created,
            "LastModifiedTime": run.modified,
            "FailureReason": run.reason[:1024],
            "ModelArtifacts": {"S3ModelArtifacts": compilation.artifact if done else ""},
            "ModelDigests": {"ArtifactDigest": f"sha256:{compilation.digest}"} if done else None,
            "DerivedInformation": {"DerivedDataInputConfig": compilation.derived} if compilation.derived else None,
        }

    def _list(self, params: Params) -> dict[str, Any]:
        summaries = [_summary(each) for each in self._all.values()]
        found = pick(summaries, params, name="CompilationJobName", status="CompilationJobStatus")
        keys = {"Name": "CompilationJobName", "CreationTime": "CreationTime", "Status": "CompilationJobStatus"}
        listed, token = page(sort(found, params, keys, "CreationTime"), params, default=10)
        return {"CompilationJobSummaries": listed, "NextToken": token}

    def _stop(self, params: Params) -> None:
        compilation = self._at(params)
        if compilation.run.status in ENDED:
            raise invalid(
                f"The request was rejected because the compilation job is in status {compilation.run.status}."
            )
        compilation.run.stop()

    def _delete(self, params: Params) -> None:
        compilation = self._at(params)
        if compilation.run.status not in ENDED:
            raise invalid(
                f"Compilation job {compilation.name} is {compilation.run.status}; stop it before you delete it."
            )
        self._tags.drop(compilation.arn)
        del self._all[compilation.name]

    def _at(self, params: Params) -> CompilationJob:
        name = params["CompilationJobName"]
        if name not in self._all:
            raise ApiError("ResourceNotFound", f"Could not find compilation job {name}.")
        return self._all[name]


def _check_input(params: Params) -> None:
    request = params.get("InputConfig")
    if request is None:
        raise invalid("The embedded AWS compiles from InputConfig only, not from model packages.")
    if request["Framework"] != "TFLITE":
        raise invalid(f"The embedded AWS compiles TFLITE networks only, not {request['Framework']}.")
    if not request["S3Uri"].startswith("s3://"):
        raise invalid(f"InputConfig.S3Uri must begin with s3://, but is {request['S3Uri']}")
    if "DataInputConfig" in request:
        try:
            neo.parse_inputs(request["DataInputConfig"])
        except ValueError as error:
            raise invalid(str(error)) from error


def _check_target(request: dict[str, Any]) -> None:
    if ("TargetDevice" in request) == ("TargetPlatform" in request):
        raise invalid("Exactly one of TargetDevice and TargetPlatform is needed in OutputConfig.")
    folder(request)


def _target(request: dict[str, Any]) -> dict[str, str]:
    return {"Device": request["TargetDevice"]} if "TargetDevice" in request else dict(request["TargetPlatform"])


def _summary(compilation: CompilationJob) -> dict[str, Any]:
    run, output = compilation.run, compilation.request["OutputConfig"]
    platform = output.get("TargetPlatform") or {}
    return {
        "CompilationJobName": compilation.name,
        "CompilationJobArn": compilation.arn,
        "CompilationJobStatus": run.status,
        "CreationTime": run.created,
        "LastModifiedTime": run.modified,
        "CompilationStartTime": run.started,
        "CompilationEndTime": run.ended,
        "CompilationTargetDevice": output.get("TargetDevice"),
        "CompilationTargetPlatformOs": platform.get("Os"),
        "CompilationTargetPlatformArch": platform.get("Arch"),
        "CompilationTargetPlatformAccelerator": platform.get("Accelerator"),
    }


def _s3(error: ClientError) -> str:
    return f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"
