"""Where the lock of a workflow is kept: an object in its components bucket, written by S3's conditional writes.

What a lock is, and how it is acquired, renewed and taken over, is in `emflow.engine.lock`.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html: with If-None-Match the object is written
only where there is none, with If-Match only over the one that was read; a request that does not come in time is
answered with 412, and with 409 when another one is being worked on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.clients import Clients
from emflow.engine.errors import as_problem, error_code, http_status
from emflow.engine.lock import Lock, LockPlaceMissing, LockRecord, StoredLock
from emflow.resources.s3.bucket import COMPONENTS_BUCKET
from emflow.workflow.model import Workflow

_log = logging.getLogger("emflow.lock")


def lock_of(workflow: Workflow, clients: Clients, record: LockRecord | None = None) -> Lock:
    """The lock of a workflow, not acquired yet. `record`: who acquires it; None is this process."""
    return Lock(S3LockStore.of(workflow, clients), record)


@dataclass(frozen=True)
class S3LockStore:
    """Where the lock of one workflow is kept."""

    clients: Clients
    bucket: str
    key: str

    kept_in: ClassVar[str] = COMPONENTS_BUCKET

    @classmethod
    def of(cls, workflow: Workflow, clients: Clients) -> S3LockStore:
        return cls(clients, workflow.cloud.buckets.components.name, f"emflow/locks/{workflow.metadata.name}.json")

    @property
    def where(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def read(self) -> StoredLock | None:
        answer = self._none_if_changed(lambda s3: s3.get_object(Bucket=self.bucket, Key=self.key))
        _log.debug("%s read: %s", self.where, "there is one" if answer else "there is none")
        if answer is None:
            return None
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return StoredLock(answer["Body"].read(), answer["ETag"], (now - answer["LastModified"]).total_seconds())

    def write(self, body: bytes, expected: str | None) -> str | None:
        condition = {"IfMatch": expected} if expected else {"IfNoneMatch": "*"}
        answer = self._none_if_changed(
            lambda s3: s3.put_object(
                Bucket=self.bucket, Key=self.key, Body=body, ContentType="application/json", **condition
            )
        )
        condition_in_words = "over the version that was read" if expected else "where there was none"
        _log.info("%s written %s: %s", self.where, condition_in_words, "done" if answer else "another run was faster")
        return str(answer["ETag"]) if answer else None

    def remove(self, version: str) -> bool:
        answer = self._none_if_changed(lambda s3: s3.delete_object(Bucket=self.bucket, Key=self.key, IfMatch=version))
        _log.info("%s %s", self.where, "removed" if answer else "not removed: another one is there, or none")
        return bool(answer)

    def _none_if_changed(self, call: Callable[[Any], dict[str, Any]]) -> dict[str, Any] | None:
        """The answer to a call; None when the object is not the version that the call expects.

        Raises:
            LockPlaceMissing: the bucket does not exist.
            Problem: S3 refuses, or is out of reach.
        """
        try:
            return call(self.clients("s3"))
        except ClientError as error:
            if error_code(error) == "NoSuchBucket":
                raise LockPlaceMissing from error
            if http_status(error) in {404, 409, 412}:
                return None
            raise as_problem(error) from error
        except BotoCoreError as error:
            raise as_problem(error) from error
