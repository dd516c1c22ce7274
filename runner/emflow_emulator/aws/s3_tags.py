"""Tags of buckets: tags in CreateBucket, which moto's S3 ignores, and lists of all tags, to find buckets by them.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucketConfiguration.html. The tags are written immediately
after the bucket is made, before CreateBucket is answered.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from emflow_emulator.aws.gateway.refusals import refusal
from emflow_emulator.aws.moto_buckets import region_of
from emflow_emulator.aws.protocol import Answer

_BUCKET = re.compile(r"/([^/]+)/?")
_TAGS = re.compile(rb"<Tags>(.*)</Tags>", re.DOTALL)

CallMoto = Callable[[str, dict[str, Any]], Answer]


class S3Tags:
    """Passes requests to moto's S3 and records the tags of buckets that are made, tagged and removed."""

    def __init__(self, call_moto: CallMoto) -> None:
        self._call_moto = call_moto
        self._tags: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def answer(self, environ: dict[str, Any]) -> Answer:
        """Answer one request to S3."""
        method, bucket = environ["REQUEST_METHOD"], _BUCKET.fullmatch(environ["PATH_INFO"])
        query = environ.get("QUERY_STRING") or ""
        if method == "POST" and "select" in {part.partition("=")[0] for part in query.split("&")}:
            # It would unpack objects in memory, and AWS no longer has it for new customers.
            return refusal("rest-xml", 405, "MethodNotAllowed", "the embedded AWS does not have SelectObjectContent")
        if not bucket or method not in {"PUT", "DELETE"} or query.partition("&")[0].rstrip("=") not in {"", "tagging"}:
            return self._call_moto("s3", environ)
        body = environ["wsgi.input"].read() if method == "PUT" else b""
        answered = self._call_moto("s3", _with(environ, body))
        if answered.status >= 300:
            return answered
        if method == "PUT" and not query:
            tags = _TAGS.search(body)
            body = b"<Tagging><TagSet>%b</TagSet></Tagging>" % tags[1] if tags else b""
            if tags:
                refused = self._call_moto("s3", {**_with(environ, body), "QUERY_STRING": "tagging"})
                if refused.status >= 300:
                    return refused
        with self._lock:
            self._tags[f"arn:aws:s3:::{bucket[1]}"] = _pairs(body)
        return answered

    def tagged(self, region: str) -> dict[str, dict[str, str]]:
        """The tags of every bucket of a region, by ARN."""
        with self._lock:
            found = {arn: dict(tags) for arn, tags in self._tags.items()}
        return {arn: tags for arn, tags in found.items() if region_of(arn.rpartition(":")[2]) == region}


def _with(environ: dict[str, Any], body: bytes) -> dict[str, Any]:
    return {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}


def _pairs(body: bytes) -> dict[str, str]:
    """The tags of a Tagging document, in any namespace. moto has parsed it already, so it is well-formed."""
    if not body:
        return {}
    tags = ElementTree.fromstring(body).iterfind("{*}TagSet/{*}Tag")  # noqa: S314 from a client on this machine
    return {tag.findtext("{*}Key", ""): tag.findtext("{*}Value", "") for tag in tags}
