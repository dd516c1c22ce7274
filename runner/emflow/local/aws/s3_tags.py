"""Tags of a bucket in the very request that creates it, which moto's S3 does not know.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucketConfiguration.html. The tags are put right behind the
bucket, before anybody is told that it exists.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from emflow.local.aws.protocol import Answer

_BUCKET = re.compile(r"/[^/]+/?")
_TAGS = re.compile(rb"<Tags>(.*)</Tags>", re.DOTALL)

Upstream = Callable[[str, dict[str, Any]], Answer]


class S3Tags:
    """Stands before moto's S3 and listens to buckets being made."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def answer(self, environ: dict[str, Any]) -> Answer:
        """Answer one request to S3."""
        creates = environ["REQUEST_METHOD"] == "PUT" and _BUCKET.fullmatch(environ["PATH_INFO"])
        if not creates or environ.get("QUERY_STRING"):
            return self._upstream("s3", environ)
        body = environ["wsgi.input"].read()
        tags = _TAGS.search(body)
        answered = self._upstream("s3", _with(environ, body))
        if tags and answered.status == 200:
            tagging = b"<Tagging><TagSet>%b</TagSet></Tagging>" % tags[1]
            refused = self._upstream("s3", {**_with(environ, tagging), "QUERY_STRING": "tagging"})
            if refused.status >= 300:
                return refused
        return answered


def _with(environ: dict[str, Any], body: bytes) -> dict[str, Any]:
    return {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
