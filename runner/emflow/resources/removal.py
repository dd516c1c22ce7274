"""What `destroy` looks at: all that a workflow may have made, known by names and marks alone.

None of it reads a file beside the workflow: neither a model that is gone nor labels that have moved stand in the way of
a clean-up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import is_missing
from emflow.engine.resource import InUse, Observed, RunContext
from emflow.engine.scheduler import read_parallel
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.greengrass import component_version
from emflow.resources.ownership import COMPONENTS_BUCKET, NOT_OWNED, Ownership, tags_as_mapping
from emflow.resources.prune import cannot_look, used_by_others
from emflow.resources.s3.objects import STORED_BY

LATEST = 20
"""Of how many packaging jobs, from the newest, it is looked at what they made."""


@dataclass(frozen=True)
class _Removable:
    """A resource that is only ever removed."""

    id: str
    name: str

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class Versions(_Removable):
    """Every version of a component that carries our mark. `after`: resources that go after it."""

    ownership: Ownership
    after: frozenset[str] = frozenset()

    @property
    def needs(self) -> frozenset[str]:
        return self.after

    def observe(self, clients: Clients) -> Observed | None:
        if not component_version.list_versions(clients, self.name):
            return None
        ours = self._ours(clients)
        return {"ours": ours, "user": self._user(clients) if ours else ""}

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        if not observed["ours"]:
            return NOT_OWNED
        return InUse(f"{observed['user']} deploys it too") if observed["user"] else None

    def delete(self, clients: Clients, run: RunContext) -> None:
        for version in self._ours(clients):
            arn = component_version.component_arn(clients, self.name, version)
            none_if_missing(partial(clients("greengrassv2").delete_component, arn=arn))

    def _ours(self, clients: Clients) -> list[str]:
        return component_version.owned_versions(clients, self.name, self.ownership)

    def _user(self, clients: Clients) -> str:
        """Another workflow that deploys it; empty when there is none, or nobody may look."""
        try:
            return used_by_others(clients, self.ownership, [self.name]).get(self.name, "")
        except ClientError as error:
            if cannot_look(error):
                return ""
            raise


@dataclass(frozen=True)
class PackagedVersions(Versions):
    """The model component's versions: SageMaker makes them without any tags, so those of our jobs are ours, too."""

    job: str = ""

    def _ours(self, clients: Clients) -> list[str]:
        made = {component_version.name_and_version(arn) for arn in self._made(clients)}
        there = component_version.list_versions(clients, self.name)
        unmarked = [version for version in there if (self.name, version) in made]
        return list(dict.fromkeys([*component_version.owned_versions(clients, self.name, self.ownership), *unmarked]))

    def _made(self, clients: Clients) -> list[str]:
        """The ARNs of the components that packaging jobs of ours have made."""
        sagemaker = clients("sagemaker")
        listed = sagemaker.list_edge_packaging_jobs(NameContains=self.job, SortBy="CREATION_TIME", MaxResults=LATEST)
        reads: dict[str, Callable[[], str]] = {
            job["EdgePackagingJobName"]: partial(self._made_by, clients, job["EdgePackagingJobName"])
            for job in listed["EdgePackagingJobSummaries"]
        }
        return [arn for arn in read_parallel(reads).values() if arn]

    def _made_by(self, clients: Clients, name: str) -> str:
        sagemaker = clients("sagemaker")
        job: Mapping[str, Any] = sagemaker.describe_edge_packaging_job(EdgePackagingJobName=name)
        made = str((job.get("PresetDeploymentOutput") or {}).get("Artifact") or "")
        if not made:
            return ""
        arn = job.get("EdgePackagingJobArn") or clients.arn("sagemaker", f"edge-packaging-job/{name}")
        pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
        return made if self.ownership.owns(tags_as_mapping([tag for page in pages for tag in page["Tags"]])) else ""


@dataclass(frozen=True)
class StoredObjects(_Removable):
    """What the workflow stored in a bucket that somebody else made: models and bundles, of all its applies.

    A bucket of ours goes with everything in it.

    Args:
        prefixes: the keys that such objects begin with.
        mark: the bucket's, if it is ours.
    """

    bucket: str
    prefixes: tuple[str, ...]
    ownership: Ownership

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({COMPONENTS_BUCKET})

    def observe(self, clients: Clients) -> Observed | None:
        s3 = clients("s3")
        tags = none_if_missing(lambda: s3.get_bucket_tagging(Bucket=self.bucket)["TagSet"])
        if self.ownership.owns(tags_as_mapping(tags or ())):
            return None
        pages = s3.get_paginator("list_objects_v2")
        try:
            keys = [
                each["Key"]
                for prefix in self.prefixes
                for page in pages.paginate(Bucket=self.bucket, Prefix=prefix)
                for each in page.get("Contents", [])
            ]
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        stored = read_parallel({key: partial(self._stored_by, s3, key) for key in keys})
        ours = [key for key, workflow in stored.items() if workflow == self.ownership.workflow]
        return {"ours": ours, "others": len(keys) - len(ours)} if keys else None

    def kept(self, observed: Observed, *, delete_data: bool) -> str | None:
        if not delete_data:
            return ""  # its bucket stays too, and says so
        return None if observed["ours"] else NOT_OWNED

    def delete(self, clients: Clients, run: RunContext) -> None:
        found = self.observe(clients)
        for key in found["ours"] if found else ():
            none_if_missing(partial(clients("s3").delete_object, Bucket=self.bucket, Key=key))

    def _stored_by(self, s3: Any, key: str) -> str | None:
        found = none_if_missing(lambda: s3.head_object(Bucket=self.bucket, Key=key))
        return (found.get("Metadata") or {}).get(STORED_BY) if found else None
