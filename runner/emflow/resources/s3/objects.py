"""The kind of stored objects: the model's archive and the bundles of components, in the components bucket.

Their keys contain the SHA-256 of their bytes, because compilation jobs and component versions refer to them for ever:
an object is never overwritten. S3 keeps the same digest beside the object when it is asked to
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html), so an upload that is already
there is recognised without reading it. The name of the workflow that stored it is in the object's metadata, which comes
with the digest; tags would need another call, and a permission of their own.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import http_status, is_missing
from emflow.engine.resource import (
    NOT_MENTIONED,
    REMOVABLE,
    Diff,
    FieldLabel,
    Inputs,
    Observed,
    Outputs,
    Retention,
    RunContext,
)
from emflow.engine.scheduler import read_parallel
from emflow.recipes.components import WorkflowComponent
from emflow.resources.aws_calls import none_if_missing
from emflow.resources.kind import BuildContext, ResourceKind
from emflow.resources.ownership import NOT_OWNED, Ownership, tags_as_mapping
from emflow.resources.s3.bucket import COMPONENTS_BUCKET
from emflow.resources.s3.bucket_users import STORED_BY

MODEL = "model/artifact"
BUNDLE = "application/bundle"
OBJECTS = "bucket/objects"

ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes of objects that have to be restored before they can be downloaded."""


@dataclass(frozen=True)
class StoredObject:
    """One object, whole. `sha256` in hexadecimal; `workflow` is the name of the one that stores it."""

    id: str
    bucket: str
    key: str
    sha256: str
    workflow: str
    data: bytes = field(repr=False)

    labels: ClassVar[Mapping[str, FieldLabel]] = {
        "sha256": FieldLabel("the content"),
        "workflow": FieldLabel("the workflow that stored it"),
    }
    needs: ClassVar[frozenset[str]] = frozenset({COMPONENTS_BUCKET})
    releases: ClassVar[frozenset[str]] = frozenset()

    @property
    def name(self) -> str:
        """The key, with the digest cut so that it fits on a line."""
        return self.key.replace(self.sha256, f"{self.sha256[:12]}…")

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def observe(self, clients: Clients) -> Observed | None:
        try:
            found = clients("s3").head_object(Bucket=self.bucket, Key=self.key, ChecksumMode="ENABLED")
        except ClientError as error:
            if http_status(error) == 404:
                return None
            raise
        checksum = None if is_archived(found) else found.get("ChecksumSHA256")
        return {
            "sha256": base64.b64decode(checksum).hex() if checksum else None,
            "workflow": (found.get("Metadata") or {}).get(STORED_BY),
        }

    def diff(self, observed: Observed | None, inputs: Inputs) -> Diff:
        return Diff.between({"sha256": self.sha256}, observed, outputs={"uri": self.uri})

    def apply(self, clients: Clients, diff: Diff, inputs: Inputs, run: RunContext) -> Outputs:
        run.waiting("uploading", f"{len(self.data) / 1e6:.1f} MB")
        clients("s3").put_object(
            Bucket=self.bucket,
            Key=self.key,
            Body=self.data,
            Metadata={STORED_BY: self.workflow},
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=base64.b64encode(bytes.fromhex(self.sha256)).decode(),
        )
        return diff.outputs


@dataclass(frozen=True)
class StoredObjects:
    """The objects that all applies of the workflow stored in a bucket that it did not make: models and bundles.

    A bucket that the workflow made is removed with all its objects.

    Args:
        prefixes: the keys that such objects begin with.
        ownership: the tags of the bucket, if the workflow made it.
    """

    bucket: str
    prefixes: tuple[str, ...]
    ownership: Ownership

    id: ClassVar[str] = OBJECTS
    name: ClassVar[str] = "models and bundles"
    needs: ClassVar[frozenset[str]] = frozenset({COMPONENTS_BUCKET})
    releases: ClassVar[frozenset[str]] = frozenset()
    labels: ClassVar[Mapping[str, FieldLabel]] = {}

    def observe(self, clients: Clients) -> Observed | None:
        s3 = clients("s3")
        try:
            tags = none_if_missing(lambda: s3.get_bucket_tagging(Bucket=self.bucket)["TagSet"])
        except ClientError as error:
            if http_status(error) == 403:
                return None  # it belongs to another account, or may not be read: then its own resource says so
            raise
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

    def retention(self, observed: Observed, *, delete_data: bool) -> Retention:
        if not delete_data:
            return NOT_MENTIONED  # its bucket stays too, and says so
        return REMOVABLE if observed["ours"] else Retention.because(NOT_OWNED)

    def delete(self, clients: Clients, run: RunContext) -> None:
        found = self.observe(clients)
        for key in found["ours"] if found else ():
            none_if_missing(partial(clients("s3").delete_object, Bucket=self.bucket, Key=key))

    def _stored_by(self, s3: Any, key: str) -> str | None:
        found = none_if_missing(lambda: s3.head_object(Bucket=self.bucket, Key=key))
        return (found.get("Metadata") or {}).get(STORED_BY) if found else None


def is_archived(head: Mapping[str, Any]) -> bool:
    """Whether an object cannot be downloaded because S3 has archived it; by the answer to HeadObject.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html: while a copy is restored, Restore says so.
    """
    archived = head.get("StorageClass") in ARCHIVES or head.get("ArchiveStatus")
    return bool(archived) and 'ongoing-request="false"' not in head.get("Restore", "")


def object_exists(clients: Clients, uri: str, sha256: str = "") -> bool | None:
    """Whether a device can get an object from S3; None where the account may not look at it, so that it is not known.

    Args:
        uri: such as `s3://bucket/key`.
        sha256: base64; where S3 has another digest of the object, the object is another one, and does not count.
    """
    # By hand: a key may hold what would end the path of a web address, such as "#".
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        found = clients("s3").head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    except ClientError as error:
        match http_status(error):
            case 404:
                return False
            case 403:
                return None
            case _:
                raise
    there = found.get("ChecksumSHA256", "")
    if is_archived(found):
        return False
    # The checksum of an upload in parts is one of the parts, and ends with their number.
    return not sha256 or not there or "-" in there or there == sha256


def stored_bundle(ours: WorkflowComponent) -> frozenset[str]:
    """The id of what stores a component's bundle; none where it has no bundle."""
    return frozenset({_bundle_id(ours)} if ours.bundle else ())


def model_object(context: BuildContext) -> StoredObject:
    """The model's archive. Raises Problem when the model is missing or unusable."""
    archive, workflow = context.model_archive, context.workflow
    # The workshop's folder and name, with the content's digest between them; of the name, what S3 calls safe in a key.
    key = f"models/uncompiled/{archive.sha256}/{re.sub(r'[^A-Za-z0-9._-]', '_', archive.name)}"
    bucket = workflow.cloud.buckets.components.name
    return StoredObject(MODEL, bucket, key, archive.sha256, workflow.metadata.name, archive.data)


def _bundle_id(ours: WorkflowComponent) -> str:
    return BUNDLE if ours.is_application else f"component/{ours.name}/bundle"


def _desired(context: BuildContext) -> Iterator[StoredObject]:
    workflow = context.workflow
    yield model_object(context)
    for ours in context.components:
        if ours.bundle:
            bucket, bundle = workflow.cloud.buckets.components.name, ours.bundle
            yield StoredObject(
                _bundle_id(ours), bucket, ours.bundle_key, bundle.sha256, workflow.metadata.name, bundle.data
            )


def _removable(context: BuildContext) -> Iterator[StoredObjects]:
    bucket = context.workflow.cloud.buckets.components.name
    yield StoredObjects(bucket, ("models/uncompiled/", "artifacts/"), context.ownership(COMPONENTS_BUCKET))


KIND = ResourceKind(desired=_desired, removable=_removable)
