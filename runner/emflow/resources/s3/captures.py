"""Captured data in an S3 bucket, read folder by folder (`emflow.results.capture_stores.CaptureStore`)."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from emflow.engine.errors import as_problem, error_code, error_message, is_missing
from emflow.results.capture_stores import MOST_BYTES, Children, Unreadable

REFUSED_OBJECTS = frozenset({"InvalidObjectState", "AccessDenied"})
"""Codes of objects in an archive, and of objects that may not be read or decrypted."""


class CaptureBucket:
    """A bucket with captures. `s3`: boto3's client. All calls raise Problem where AWS does not answer, or refuses.

    An object that is refused while the bucket is not (archived, or encrypted with another key) raises Unreadable.
    """

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
            found = self._s3.get_object(Bucket=self._name, Key=key)
            with found["Body"] as body:
                data: bytes = body.read(MOST_BYTES) if found["ContentLength"] <= MOST_BYTES else b""
            if len(data) < found["ContentLength"]:
                raise Unreadable(f"is larger than {MOST_BYTES // 2**20} MiB")
        except ClientError as error:
            if is_missing(error):
                return None
            if error_code(error) in REFUSED_OBJECTS:
                raise Unreadable(f"cannot be read: {error_message(error)} ({error_code(error)})") from None
            raise as_problem(error) from error
        except BotoCoreError as error:
            raise as_problem(error) from error
        return data

    def __str__(self) -> str:
        return f"s3://{self._name}"
