"""Owner and region of buckets in moto's S3, and the owner that a request expects, which moto ignores.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html: S3 answers 403 AccessDenied when the
bucket of a request, or of the source of a copy, does not belong to the account that the request names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

_BUCKET, _SOURCE = "HTTP_X_AMZ_EXPECTED_BUCKET_OWNER", "HTTP_X_AMZ_SOURCE_EXPECTED_BUCKET_OWNER"
_COPIED = "HTTP_X_AMZ_COPY_SOURCE"


def objection(environ: dict[str, Any]) -> str:
    """Why a request to S3 is refused because of the owner that it expects; empty when it is not."""
    for name, expected in _expectations(environ):
        owner = _owner(name)
        if owner and owner != expected:
            return f"Access Denied: bucket {name} does not belong to account {expected}"
    return ""


def _expectations(environ: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of buckets, each with the account that is expected to own it."""
    if expected := environ.get(_BUCKET):
        yield _first_part(environ["PATH_INFO"]), expected
    if expected := environ.get(_SOURCE):
        yield _first_part(unquote(environ.get(_COPIED, ""))), expected


def _first_part(path: str) -> str:
    return path.lstrip("/").partition("/")[0]


def region_of(bucket: str) -> str:
    """The region that a bucket is in; empty when there is no such bucket."""
    found = _find(bucket)
    return str(found.region_name) if found else ""


def _owner(bucket: str) -> str:
    """The account that a bucket belongs to; empty when there is no such bucket."""
    found = _find(bucket)
    return str(found.account_id) if found else ""


def _find(bucket: str) -> Any:
    from moto.s3.models import s3_backends

    partition, account = s3_backends.bucket_accounts.get(bucket, ("", ""))
    return s3_backends[account][partition].buckets.get(bucket) if account else None
