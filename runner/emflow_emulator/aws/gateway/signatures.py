"""Checks that a request was signed with an accepted key: AWS's Signature Version 4, in headers or in the URL.

The signature of the received request is computed with botocore's signer, and compared. By default boto3 presigns URLs
for S3 in the oldest regions with Signature Version 2, so this version is accepted too, in URLs for S3.
https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import HmacV1QueryAuth, S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from emflow_emulator import loopback
from emflow_emulator.access import AccessKey
from emflow_emulator.aws.account_region import REGION
from emflow_emulator.aws.gateway.keys import IssuedKey, Keys
from emflow_emulator.aws.gateway.refusals import Reason, RequestRefused

_ALGORITHM = "AWS4-HMAC-SHA256"
_TIME = "%Y%m%dT%H%M%SZ"
_SKEW = timedelta(minutes=15)
_LONGEST = timedelta(days=7)
_LARGEST_OBJECT = 2 * 1024**3
"""Bytes that are taken at once, in memory: what a component's artifacts may have together. S3 itself takes 5 GiB."""
_LARGEST_BODY = 16 * 1024**2
"""Bytes: more than any other call has. What was signed shows with all of the body only."""
_NUMBER = re.compile(r"[0-9]{1,12}")
_EMPTY = hashlib.sha256(b"").hexdigest()
_HASH = "x-amz-content-sha256"
_TOKEN = "x-amz-security-token"  # noqa: S105 a name, no secret
_UNSIGNED = ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
_IN_PIECES = f"STREAMING-{_ALGORITHM}-PAYLOAD"


@dataclass(frozen=True)
class Request:
    """A request as it was received.

    Args:
        target: path and query, still encoded.
        headers: in their original order and spelling.
        body: the whole body; still in signed pieces if the client sent it so ("aws-chunked").
    """

    method: str
    target: str
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Scope:
    """The region and the service that a signature names."""

    region: str
    service: str


class Verifier:
    """Checks that requests are signed with an accepted key."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def largest_body(self, head: Request) -> int:
        """How many bytes of a body may follow a head, before anybody knows whether they are the ones that were signed.

        Args:
            head: the request without its body.

        Raises:
            RequestRefused: the request will not be let in, whatever its body is.
        """
        query = _query(head)
        if _has_version_2(head, query):
            self._check_version_2(head, query)
            return _LARGEST_OBJECT
        signed, key = self._signed(head, query)
        declared = _HASH in head.headers or signed.expires is not None
        if signed.scope.service != "s3" or not declared:
            return _LARGEST_BODY
        _check_head(head, signed, key)
        return _LARGEST_OBJECT

    def check(self, request: Request) -> Scope:
        """The region and the service that a request is for.

        Raises:
            RequestRefused: it is not signed, the key is not accepted, the signature is not that of the received
                request, or its time is not now.
        """
        query = _query(request)
        if _has_version_2(request, query):
            return self._check_version_2(request, query)
        signed, key = self._signed(request, query)
        _check_signature(request, signed, key)
        return signed.scope

    def _signed(self, request: Request, query: Mapping[str, str]) -> tuple[_Signed, AccessKey]:
        """What a request says about its signature, and the key that it names."""
        ways = request.headers.get_all("Authorization") or []
        in_url = "X-Amz-Signature" in query or "X-Amz-Credential" in query
        if not ways and not in_url:
            raise RequestRefused(Reason.UNSIGNED)
        if len(ways) + in_url != 1:
            raise RequestRefused(Reason.INCOMPLETE, "a request has to be signed once")
        signed = _from_url(query) if in_url else _from_header(ways[0], request.headers)
        issued = self._key(signed.key_id, signed.token, signed.scope.service)
        _check_time(signed)
        return signed, issued.key

    def _key(self, key_id: str, token: str, service: str) -> IssuedKey:
        issued = self._keys.find(key_id)
        if issued is None:
            raise RequestRefused(Reason.UNKNOWN_KEY, service=service)
        if not hmac.compare_digest(issued.key.token.encode(), token.encode()):
            raise RequestRefused(Reason.BAD_TOKEN, service=service)
        if issued.ended:
            raise RequestRefused(Reason.EXPIRED_TOKEN, service=service)
        return issued

    def _check_version_2(self, request: Request, query: Mapping[str, str]) -> Scope:
        issued = self._key(query.get("AWSAccessKeyId", ""), query.get(_TOKEN, ""), "s3")
        signer = _Version2(_credentials(issued.key), query.get("Expires", ""))
        headers = HTTPHeaders()
        for name, value in request.headers.items():
            headers[name] = value
        url = urlsplit(f"http://{request.headers['Host']}{request.target}")
        bucket, _ = loopback.bucket_in_host(request.headers)
        path = f"/{bucket}{url.path}" if bucket else url.path
        # botocore signs a bucket's own path with a slash at its end, which it leaves away in the URL.
        paths = {path, f"{path}/" if path.count("/") == 1 else path}
        made = [signer.get_signature(request.method, url, headers, auth_path=path) for path in paths]  # type: ignore[arg-type]
        if not any(hmac.compare_digest(each.encode(), query["Signature"].encode()) for each in made):
            raise RequestRefused(Reason.SIGNATURE, service="s3")
        expires = query.get("Expires", "")
        if not _NUMBER.fullmatch(expires) or int(expires) < time.time():
            raise RequestRefused(Reason.EXPIRED_URL, service="s3")
        return Scope(REGION, "s3")


def _query(request: Request) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.target).query, keep_blank_values=True))


def _has_version_2(request: Request, query: Mapping[str, str]) -> bool:
    return "Authorization" not in request.headers and "Signature" in query and "X-Amz-Signature" not in query


@dataclass(frozen=True)
class _Signed:
    """The parts of a request's signature. `expires`: seconds for which a URL is valid; None for headers."""

    key_id: str
    scope: Scope
    day: str
    time: str
    names: tuple[str, ...]
    signature: str
    token: str
    expires: str | None = None


def _from_header(authorization: str, headers: Message) -> _Signed:
    algorithm, _, text = authorization.partition(" ")
    if algorithm != _ALGORITHM:
        raise RequestRefused(Reason.INCOMPLETE, f"the Authorization header has to begin with {_ALGORITHM}")
    parts = {name.strip(): value.strip() for name, _, value in (part.partition("=") for part in text.split(","))}
    when, token = headers.get_all("X-Amz-Date") or [], headers.get_all(_TOKEN) or []
    if len(when) > 1 or len(token) > 1:
        raise RequestRefused(Reason.INCOMPLETE, "a header of the signature is present twice")
    return _signed(
        parts, "Credential", "SignedHeaders", "Signature", when[0] if when else "", token[0] if token else ""
    )


def _from_url(query: Mapping[str, str]) -> _Signed:
    if query.get("X-Amz-Algorithm") != _ALGORITHM:
        raise RequestRefused(Reason.INCOMPLETE, f"X-Amz-Algorithm has to be {_ALGORITHM}")
    token = query.get("X-Amz-Security-Token", "")
    names = "X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature"
    return _signed(query, *names, query.get("X-Amz-Date", ""), token, query.get("X-Amz-Expires", ""))


def _signed(
    parts: Mapping[str, str],
    credential: str,
    headers: str,
    signature: str,
    when: str,
    token: str,
    expires: str | None = None,
) -> _Signed:
    match parts.get(credential, "").split("/"):
        case [key_id, day, region, service, "aws4_request"] if key_id and len(day) == 8 and service:
            scope = Scope(region or REGION, service)
        case _:
            text = f"the signature requires '{credential}' of the form KEY/DATE/REGION/SERVICE/aws4_request"
            raise RequestRefused(Reason.INCOMPLETE, text)
    names = tuple(name for name in parts.get(headers, "").lower().split(";") if name)
    if not names or not parts.get(signature):
        text = f"the signature requires '{headers}' and '{signature}'"
        raise RequestRefused(Reason.INCOMPLETE, text, service=scope.service)
    return _Signed(key_id, scope, day, when, names, parts[signature], token, expires)


def _check_time(signed: _Signed) -> None:
    service, now = signed.scope.service, datetime.now(UTC)
    try:
        then = datetime.strptime(signed.time, _TIME).replace(tzinfo=UTC)
    except ValueError:
        text = "the signature requires 'X-Amz-Date' of the form YYYYMMDDTHHMMSSZ"
        raise RequestRefused(Reason.INCOMPLETE, text, service=service) from None
    if signed.time[:8] != signed.day:
        raise RequestRefused(Reason.SIGNATURE, "the date in Credential is not that of X-Amz-Date", service=service)
    if signed.expires is None:
        if abs(now - then) > _SKEW:
            raise RequestRefused(Reason.SKEWED, service=service)
        return
    if not _NUMBER.fullmatch(signed.expires) or not 0 < int(signed.expires) <= _LONGEST.total_seconds():
        text = "X-Amz-Expires has to be a number of seconds from 1 to 604800"
        raise RequestRefused(Reason.INCOMPLETE, text, service=service)
    if now > then + timedelta(seconds=int(signed.expires)) or then > now + _SKEW:
        raise RequestRefused(Reason.EXPIRED_URL, service=service)


def _check_head(request: Request, signed: _Signed, key: AccessKey) -> tuple[_Again, str, str]:
    """See that method, target, headers and the hash of the body are those that were signed.

    Returns:
        What made the signature again; the signature; the body's hash or kind, where the request says it.
    """
    service = signed.scope.service
    received: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        # HTTP's headers are Latin-1 to Python; a client signs UTF-8.
        received.setdefault(name.lower(), []).append(value.encode("latin-1", "replace").decode(errors="replace"))
    needed = {"host", *(name for name in received if name.startswith("x-amz-"))}
    if not needed <= set(signed.names) <= received.keys():
        text = "all signed headers have to be present, and Host and every X-Amz- header have to be signed"
        raise RequestRefused(Reason.SIGNATURE, text, service=service)
    headers = HTTPHeaders()
    for name in signed.names:
        for value in received[name]:
            headers[name] = value
    declared = ",".join(received.get(_HASH, ()))
    if signed.expires is not None and service == "s3":
        declared = declared or _UNSIGNED[0]
    signer = _signer(signed, key, headers, declared or hashlib.sha256(request.body).hexdigest())
    made = signer.made_for(request)
    if not hmac.compare_digest(made.encode(), signed.signature.encode()):
        raise RequestRefused(Reason.SIGNATURE, service=service)
    return signer, made, declared


def _check_signature(request: Request, signed: _Signed, key: AccessKey) -> None:
    service = signed.scope.service
    signer, made, declared = _check_head(request, signed, key)
    if service == "s3" and declared in _UNSIGNED:
        return
    if service == "s3" and declared in (_IN_PIECES, f"{_IN_PIECES}-TRAILER"):
        if not signer.signed_in_pieces(request.body, made):
            raise RequestRefused(Reason.SIGNATURE, "a piece of the body is not what was signed", service=service)
    elif declared and not hmac.compare_digest(declared.encode(), hashlib.sha256(request.body).hexdigest().encode()):
        raise RequestRefused(Reason.BODY, service=service)


class _Again:
    """Makes botocore's signers sign like the client: the same headers, the same hash of the body, the same time."""

    def __init__(self, signed: _Signed, key: AccessKey, headers: HTTPHeaders, body_hash: str) -> None:
        super().__init__(_credentials(key), signed.scope.service, signed.scope.region)  # type: ignore[call-arg]
        self._signed, self._headers, self._body_hash = signed, headers, body_hash

    def headers_to_sign(self, request: Any) -> HTTPHeaders:  # noqa: ARG002 botocore's signature
        return self._headers

    def payload(self, request: Any) -> str:  # noqa: ARG002 botocore's signature
        return self._body_hash

    def made_for(self: Any, request: Request) -> str:
        """The signature."""
        path, _, query = request.target.partition("?")
        kept = "&".join(part for part in query.split("&") if not part.startswith("X-Amz-Signature="))
        made = AWSRequest(request.method, f"http://{self._headers['host']}{path}?{kept}", dict(self._headers))
        self._context = made
        made.context["timestamp"] = self._signed.time
        text: str = self.signature(self.string_to_sign(made, self.canonical_request(made)), made)
        return text

    def signed_in_pieces(self: Any, body: bytes, first: str) -> bool:
        """Whether each piece of an "aws-chunked" body has the right signature; each depends on the one before.

        https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
        """
        try:
            pieces, trailer = _taken_apart(body)
        except ValueError:
            return False
        before = first
        for data, signature in pieces:
            made = self._chained("PAYLOAD", before, _EMPTY, hashlib.sha256(data).hexdigest())
            if not hmac.compare_digest(made.encode(), signature):
                return False
            before = made
        if not trailer and not self._body_hash.endswith("-TRAILER"):
            return True
        fields, _, signature = trailer.rpartition(b"x-amz-trailer-signature:")
        lines = b"".join(line.strip() + b"\n" for line in fields.splitlines() if line.strip())
        made = self._chained("TRAILER", before, hashlib.sha256(lines).hexdigest())
        return hmac.compare_digest(made.encode(), signature.strip())

    def _chained(self: Any, kind: str, before: str, *hashes: str) -> str:
        scope = self.credential_scope(self._context)
        text = "\n".join((f"{_ALGORITHM}-{kind}", self._signed.time, scope, before, *hashes))
        made: str = self.signature(text, self._context)
        return made


class _AgainV4(_Again, SigV4Auth):
    pass


class _AgainS3(_Again, S3SigV4Auth):
    """The same without normalising the path, which other services need and S3 does not allow in keys."""


def _signer(signed: _Signed, key: AccessKey, headers: HTTPHeaders, body_hash: str) -> _Again:
    kind = _AgainS3 if signed.scope.service == "s3" else _AgainV4
    return kind(signed, key, headers, body_hash)


class _Version2(HmacV1QueryAuth):
    """Signs a URL with the client's expiry time."""

    def __init__(self, credentials: Credentials, expires: str) -> None:
        super().__init__(credentials)
        self._until = expires

    def _get_date(self) -> str:
        return self._until


def _taken_apart(body: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The bytes and the signature of each piece of an "aws-chunked" body, and the bytes after the last, empty piece.

    Raises:
        ValueError: the body has another form.
    """
    pieces = []
    while True:
        head, _, rest = body.partition(b"\r\n")
        size, _, signature = head.partition(b";chunk-signature=")
        length = int(size, 16)
        data, body = rest[:length], rest[length:]
        if length < 0 or len(data) < length:
            raise ValueError("a piece is cut off")
        pieces.append((data, signature))
        if not data:
            return pieces, body.strip()
        if not body.startswith(b"\r\n"):
            raise ValueError("a piece is longer than its stated length")
        body = body[2:]


def _credentials(key: AccessKey) -> Credentials:
    return Credentials(key.id, key.secret, key.token or None)
