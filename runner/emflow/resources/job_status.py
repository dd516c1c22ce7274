"""The newest jobs of a workflow as they stand, found by the names that they may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from emflow.engine.clients import Clients
from emflow.engine.work import together
from emflow.resources.sagemaker.jobs import LONGEST_NAME
from emflow.workflow.model import Workflow

COMPILATION, PACKAGING = "compilation", "packaging"
DIGEST = 12
"""Characters of a job's name that are kept for the digest of its inputs, as in `jobs.names`."""


@dataclass(frozen=True)
class JobStatus:
    """One job. `kind`: `compilation` or `packaging`; `reason` is AWS's own, where it gives one."""

    kind: str
    name: str
    status: str
    reason: str = ""
    created: datetime | None = None
    changed: datetime | None = None


def read(workflow: Workflow, clients: Clients) -> tuple[JobStatus, ...]:
    """The newest compilation and the newest packaging of a workflow, as far as there are any."""
    reads: dict[str, Callable[[], JobStatus | None]] = {
        COMPILATION: lambda: _compilation(clients, workflow.cloud.compile.job),
        PACKAGING: lambda: _packaging(clients, workflow.cloud.package.job),
    }
    return tuple(job for job in together(reads).values() if job)


def stem(base: str) -> str:
    """What the names of all jobs begin with that a workflow makes under a name."""
    return base[: LONGEST_NAME - DIGEST].rstrip("-")


def _compilation(clients: Clients, base: str) -> JobStatus | None:
    sagemaker = clients("sagemaker")
    name = _newest(sagemaker.list_compilation_jobs, "CompilationJob", "CreationTime", base)
    if not name:
        return None
    job = sagemaker.describe_compilation_job(CompilationJobName=name)
    return JobStatus(
        COMPILATION,
        name,
        job["CompilationJobStatus"],
        job.get("FailureReason", ""),
        job.get("CreationTime"),
        job.get("LastModifiedTime"),
    )


def _packaging(clients: Clients, base: str) -> JobStatus | None:
    sagemaker = clients("sagemaker")
    name = _newest(sagemaker.list_edge_packaging_jobs, "EdgePackagingJob", "CREATION_TIME", base)
    if not name:
        return None
    job = sagemaker.describe_edge_packaging_job(EdgePackagingJobName=name)
    preset: Mapping[str, Any] = job.get("PresetDeploymentOutput") or {}
    reasons = (job.get("EdgePackagingJobStatusMessage"), preset.get("StatusMessage"))
    return JobStatus(
        PACKAGING,
        name,
        job["EdgePackagingJobStatus"],
        "; ".join(reason for reason in reasons if reason),
        job.get("CreationTime"),
        job.get("LastModifiedTime"),
    )


def _newest(list_jobs: Callable[..., Any], kind: str, by_time: str, base: str) -> str:
    """The name of the newest job under this name or one with a digest behind it; empty when there is none.

    Args:
        kind: how the members of the answer are called.
        by_time: how this call names the order.
    """
    begins = stem(base)
    listed = list_jobs(NameContains=begins, SortBy=by_time, SortOrder="Descending", MaxResults=100)
    names = [str(job[f"{kind}Name"]) for job in listed[f"{kind}Summaries"]]
    return next((name for name in names if name == base or name.startswith(f"{begins}-")), "")
