"""Objects in the components bucket: the model's archive and the application's bundle.

Their keys carry the SHA-256 of their bytes, because compilation jobs and component versions point at them for ever: an
object that was once pointed at is never overwritten. S3 keeps the same digest beside the object when it is asked to
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html), so an upload that is already
there is recognised without reading it. Beside it lies the mark of the workflow that stored it, as metadata: that comes
with the digest, where tags would cost a call and a right of their own.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import as_problem, http_status, is_missing
from emflow.engine.resource import Diff, Inputs, Observed, Outputs, RunContext
from emflow.resources.ownership import COMPONENTS_BUCKET
from emflow.results.capture_stores import Children

STORED_BY = "emflow-workflow"
"""The key of the metadata that says which workflow stored an object."""


@dataclass(frozen=True)
class StoredObject:
    """One object, whole. `sha256` in hexadecimal; `workflow` is the name of the one that stores it."""

    id: str
    bucket: str
    key: str
    sha256: str
    workflow: str
    data: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """The key, with a digest that fits on a line."""
        return self.key.replace(self.sha256, f"{self.sha256[:12]}…")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({COMPONENTS_BUCKET})

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
        checksum = found.get("ChecksumSHA256")
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


# The bucket for captured data, as whoever reads it walks through it.


class Bucket:
    """A bucket. `s3`: boto3's client. All calls raise Problem where AWS does not answer, or refuses."""

    def __init__(self, s3: Any, name: str) -> None:
        self._s3, self._name = s3, name

    def children(self, prefix: str) -> Children:
        folders: list[str] = []
        files: list[tuple[str, float]] = []
        try:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix, Delimiter="/")
            for page in pages:
                folders += [each["Prefix"].removeprefix(prefix).rstrip("/") for each in page.get("CommonPrefixes", [])]
                files += [
                    (each["Key"].removeprefix(prefix), each["LastModified"].timestamp())
                    for each in page.get("Contents", [])
                ]
        except (ClientError, BotoCoreError) as error:
            raise as_problem(error) from error
        return Children(tuple(folders), tuple(files))

    def read(self, key: str) -> bytes | None:
        try:
            data: bytes = self._s3.get_object(Bucket=self._name, Key=key)["Body"].read()
        except ClientError as error:
            if is_missing(error):
                return None
            raise as_problem(error) from error
        except BotoCoreError as error:
            raise as_problem(error) from error
        return data

    def __str__(self) -> str:
        return f"s3://{self._name}"
