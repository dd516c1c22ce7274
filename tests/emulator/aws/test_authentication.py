"""Who is let in: every service refuses what is not signed with a key of this embedded AWS, as it arrived, and now."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emflow.problems import Problem
from emflow_emulator.access import AccessKey
from emflow_emulator.aws import REGION, EmbeddedAws, moto_backend
from emflow_emulator.aws.gateway.refusals import PROTOCOLS
from emflow_emulator.aws.gateway.routing import OURS, REPORTS

JSON, FORM, AMZ = "application/json", "application/x-www-form-urlencoded", "application/x-amz-json-1.1"


@dataclass(frozen=True)
class Call:
    """One request to one service, before it is signed."""

    service: str
    method: str = "POST"
    path: str = "/"
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)

    def presents(self, kind: str) -> Call:
        return replace(self, headers={**self.headers, "Content-Type": kind})


REPORT = {"coreVersion": "2", "platform": "linux", "architecture": "amd64", "status": "HEALTHY"}
CALLS = {
    call.service: call
    for call in (
        Call(REPORTS, path="/_emflow/cores/board", body=json.dumps(REPORT).encode(), headers={"Content-Type": JSON}),
        Call("greengrass", path="/greengrass/v2/createComponentVersion", headers={"Content-Type": JSON}),
        Call("iam", body=b"Action=ListRoles&Version=2010-05-08", headers={"Content-Type": FORM}),
        Call("iot", path="/things/made-by-a-signed-request", headers={"Content-Type": JSON}),
        Call("iotdata", path="/topics/em", headers={"Content-Type": JSON}),
        Call("kms", headers={"Content-Type": AMZ, "X-Amz-Target": "TrentService.ListKeys"}),
        Call("s3", "PUT", "/made-for-tests/signed/a%20b", headers={"Content-Type": "text/plain"}),
        Call("sagemaker", headers={"Content-Type": AMZ, "X-Amz-Target": "SageMaker.ListDeviceFleets"}),
        Call("secretsmanager", headers={"Content-Type": AMZ, "X-Amz-Target": "secretsmanager.ListSecrets"}),
        Call("sts", body=b"Action=GetCallerIdentity&Version=2011-06-15", headers={"Content-Type": FORM}),
        Call(
            "tagging", headers={"Content-Type": AMZ, "X-Amz-Target": "ResourceGroupsTaggingAPI_20170126.GetResources"}
        ),
    )
}
# What a client reads as the error's code; the codes are AWS's own.
CODES = {
    "unsigned": ("AccessDenied", "MissingAuthenticationToken", "MissingAuthenticationTokenException"),
    "unknown": ("InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"),
    "token": ("InvalidToken", "InvalidClientTokenId", "UnrecognizedClientException"),
    "signature": ("SignatureDoesNotMatch", "SignatureDoesNotMatch", "InvalidSignatureException"),
    "body": ("XAmzContentSHA256Mismatch", "SignatureDoesNotMatch", "InvalidSignatureException"),
    "skewed": ("RequestTimeTooSkewed", "SignatureDoesNotMatch", "InvalidSignatureException"),
    "expired": ("AccessDenied", "SignatureDoesNotMatch", "InvalidSignatureException"),
    "web page": ("AccessDenied", "AccessDenied", "AccessDenied"),
}
STRANGER = AccessKey.new()


class Sender:
    """Signs calls and sends them, as they are or as a fault leaves them."""

    def __init__(self, aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aws, self.key, self._patch = aws, aws.credentials, monkeypatch

    def signed(
        self, call: Call, key: AccessKey | None = None, ago: float = 0.0, in_url: int = 0, host: str = ""
    ) -> Call:
        """Signed with the run's own key or another, so many seconds ago; in the URL, good for `in_url` seconds."""
        then = datetime.now(UTC) - timedelta(seconds=ago)
        self._patch.setattr("botocore.auth.get_current_datetime", lambda: then)
        key = key or self.key
        headers = {**call.headers, "Host": host or f"{self.aws.host}:{self.aws.port}"}
        request = AWSRequest(call.method, f"{self.aws.endpoint_url}{call.path}", headers, call.body)
        credentials = Credentials(key.id, key.secret, key.token or None)
        if in_url:
            if call.service != "s3":
                # The signer would move a body into the URL, as the query protocol has it.
                request.data, call = b"", replace(call, body=b"")
            kind: Any = S3SigV4QueryAuth if call.service == "s3" else SigV4QueryAuth
            kind(credentials, call.service, REGION, expires=in_url).add_auth(request)
        else:
            header = S3SigV4Auth if call.service == "s3" else SigV4Auth
            header(credentials, call.service, REGION).add_auth(request)
        assert request.url
        parts = urlsplit(request.url)
        return replace(call, path=f"{parts.path}?{parts.query}".rstrip("?"), headers=dict(request.headers))

    def send(self, call: Call) -> tuple[int, Message, bytes]:
        connection = http.client.HTTPConnection(self.aws.host, self.aws.port, timeout=30)
        connection.putrequest(call.method, call.path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**call.headers, "Content-Length": str(len(call.body))}.items():
            connection.putheader(name, value)
        connection.endheaders(call.body)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body


@pytest.fixture
def sender(aws: EmbeddedAws, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Sender:
    return Sender(aws, monkeypatch)


def code_of(headers: Message, body: bytes) -> str:
    found = re.search(rb"<Code>(\w+)</Code>", body)
    return found[1].decode() if found else str(headers.get("x-amzn-ErrorType"))


def with_header(call: Call, name: str, value: str) -> Call:
    return replace(call, headers={**call.headers, name: value})


def without(call: Call, *names: str) -> Call:
    return replace(call, headers={name: value for name, value in call.headers.items() if name not in names})


def resigned(key: AccessKey) -> Callable[[Sender, Call], Call]:
    return lambda sender, call: sender.signed(call, key)


OF_A_BUCKET = "a bucket's name before ours"
FAULTS: dict[str, tuple[str, Callable[[Sender, Call], Call]]] = {
    "no signature": ("unsigned", lambda s, call: with_header(call, "Host", s.signed(call).headers["Host"])),
    "a signature taken away": ("unsigned", lambda s, call: without(s.signed(call), "Authorization")),
    "another secret": ("signature", lambda s, call: s.signed(call, replace(s.key, secret="x"))),
    "an unknown key": ("unknown", resigned(STRANGER)),
    "the key's id with other letters": ("unknown", lambda s, call: s.signed(call, replace(s.key, id=s.key.id.lower()))),
    "a token that is none": ("token", lambda s, call: s.signed(call, replace(s.key, token="x"))),
    "another body": ("body", lambda s, call: replace(s.signed(call), body=call.body + b" ")),
    "no body": ("body", lambda s, call: replace(s.signed(call), body=b"")),
    "another path": ("signature", lambda s, call: replace(s.signed(call), path=f"{call.path}x")),
    "another query": ("signature", lambda s, call: replace(s.signed(call), path=f"{call.path}?x=y")),
    "another method": ("signature", lambda s, call: replace(s.signed(call), method="PATCH")),
    "another operation": ("signature", lambda s, call: with_header(s.signed(call), "X-Amz-Target", "TrentService.X")),
    "a header of AWS that is not signed": ("signature", lambda s, call: with_header(s.signed(call), "X-Amz-Acl", "x")),
    "another host of this machine": ("signature", lambda s, call: with_header(s.signed(call), "Host", "localhost")),
    "sixteen minutes ago": ("skewed", lambda s, call: s.signed(call, ago=960)),
    "in sixteen minutes": ("skewed", lambda s, call: s.signed(call, ago=-960)),
    "a URL that has expired": ("expired", lambda s, call: s.signed(call, ago=20, in_url=10)),
    "a URL that begins later": ("expired", lambda s, call: s.signed(call, ago=-960, in_url=10)),
    "a URL with more time": (
        "signature",
        lambda s, call: replace(
            expired := s.signed(call, ago=20, in_url=10), path=expired.path.replace("Expires=10", "Expires=1000")
        ),
    ),
    "a URL of an unknown key": ("unknown", lambda s, call: s.signed(call, STRANGER, in_url=60)),
    "a URL with another secret": ("signature", lambda s, call: s.signed(call, replace(s.key, secret="x"), in_url=60)),
    "another name": ("web page", lambda s, call: s.signed(call, host="rebound.example")),
    "a name that begins like ours": ("web page", lambda s, call: s.signed(call, host="127.0.0.1.example")),
    OF_A_BUCKET: ("web page", lambda s, call: s.signed(call, host=f"bucket.localhost:{s.aws.port}")),
    "an origin": ("web page", lambda s, call: with_header(s.signed(call), "Origin", "https://page.example")),
    "the origin of a file": ("web page", lambda s, call: with_header(s.signed(call), "Origin", "null")),
    "a preflight": ("web page", lambda s, call: s.signed(replace(call, method="OPTIONS"))),
}


def test_every_service_that_there_is_is_asked_here() -> None:
    assert set(CALLS) == {*moto_backend.SERVICES, *OURS, "iotdata", "tagging", REPORTS} == set(PROTOCOLS)


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "[::1]:{}", "LOCALHOST"])
def test_a_signed_request_is_let_in(sender: Sender, service: str, host: str) -> None:
    call = CALLS[service]
    status, headers, body = sender.send(sender.signed(call, host=host.format(sender.aws.port)))
    # What the service itself has against it is another matter: there is no recipe in it, or the thing is there already.
    assert status < 300 or code_of(headers, body) in {"ValidationException", "ResourceAlreadyExistsException"}, body


# S3's own clients write a bucket's name before the host.
@pytest.mark.parametrize(
    ("service", "fault"),
    [(service, fault) for service in CALLS for fault in FAULTS if (service, fault) != ("s3", OF_A_BUCKET)],
)
def test_what_is_wrong_with_a_request_keeps_it_out(sender: Sender, service: str, fault: str) -> None:
    reason, spoil = FAULTS[fault]
    status, headers, body = sender.send(spoil(sender, CALLS[service]))
    assert status == 403, body
    codes = CODES[reason]
    assert code_of(headers, body) == codes[{"rest-xml": 0, "query": 1}.get(PROTOCOLS[service], 2)]
    assert not [name for name in headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("service", [service for service in CALLS if service != "s3"])
@pytest.mark.parametrize("kind", ["text/plain", "text/plain;charset=UTF-8", "multipart/form-data; boundary=x", "x/y"])
def test_a_content_type_of_another_protocol_is_refused(sender: Sender, service: str, kind: str) -> None:
    status, headers, body = sender.send(sender.signed(CALLS[service].presents(kind)))
    assert (status, code_of(headers, body)) == (400, "SerializationException")


@pytest.mark.parametrize(
    "authorization",
    [
        "nonsense",
        "AWS local:signature",
        "Bearer token",
        "AWS4-HMAC-SHA256 nonsense",
        "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request",
        "AWS4-HMAC-SHA256 Credential=x/2026/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x",
        "AWS4-HMAC-SHA256 Credential=a/b/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x",
        "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1//aws4_request, SignedHeaders=host, Signature=x",
        "AWS4-ECDSA-P256-SHA256 Credential=x/20260101/s3/aws4_request, SignedHeaders=host, Signature=x",
    ],
)
def test_a_signature_that_is_not_complete_is_reported(sender: Sender, authorization: str) -> None:
    call = with_header(CALLS["kms"], "Host", f"localhost:{sender.aws.port}")
    status, headers, body = sender.send(with_header(call, "Authorization", authorization))
    assert status == 400
    assert code_of(headers, body) in {"IncompleteSignatureException", "AuthorizationHeaderMalformed"}


def test_no_answer_lets_a_web_page_read_it(s3: Any, sender: Sender, bucket: str) -> None:
    rule = {"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    try:
        for service, call in CALLS.items():
            _, headers, _ = sender.send(sender.signed(call))
            assert not [name for name in headers if name.lower().startswith("access-control-")], service
    finally:
        s3.delete_bucket_cors(Bucket=bucket)


def test_the_health_check_needs_no_signature_and_is_not_for_web_pages(aws: EmbeddedAws) -> None:
    url = f"{aws.endpoint_url}/_emflow/health"
    assert urllib.request.urlopen(url).status == 200
    for headers in ({"Origin": "http://127.0.0.1:9"}, {"Host": "rebound.example"}):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(url, headers=headers))


AWKWARD = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=AWKWARD, version=st.sampled_from(["s3v4", "s3"]))
def test_objects_of_all_names_are_reached_by_signature_and_by_url(
    client: Callable[..., Any], bucket: str, key: str, version: str
) -> None:
    name = f"awkward/{key}/end"
    client("s3").put_object(Bucket=bucket, Key=name, Body=name.encode())
    presigning = client("s3", signature_version=version)
    url = presigning.generate_presigned_url("get_object", {"Bucket": bucket, "Key": name})
    with urllib.request.urlopen(url) as response:
        assert response.read() == name.encode()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda url: url.replace("/signed", "/other"), "SignatureDoesNotMatch"),
        (lambda url: re.sub(r"Expires=(\d)", r"Expires=2\1", url), "SignatureDoesNotMatch"),
        (lambda url: re.sub("AWSAccessKeyId=[^&]+", "AWSAccessKeyId=x", url), "InvalidAccessKeyId"),
        (lambda url: re.sub("&?Expires=[^&]+", "", url), "SignatureDoesNotMatch"),
    ],
)
def test_a_url_of_the_older_signature_is_checked_too(
    aws: EmbeddedAws, s3: Any, bucket: str, spoil: Callable[[str], str], code: str
) -> None:
    s3.put_object(Bucket=bucket, Key="signed", Body=b"x")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "signed"})
    assert "AWSAccessKeyId=" in url
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(spoil(url))
    assert (refused.value.code, code_of(refused.value.headers, refused.value.read())) == (403, code)


def test_a_url_of_the_older_signature_may_be_for_a_whole_bucket(s3: Any, bucket: str) -> None:
    url = s3.generate_presigned_url("list_objects", {"Bucket": bucket})
    assert "AWSAccessKeyId=" in url
    with urllib.request.urlopen(url) as answer:
        assert b"<ListBucketResult" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url.replace(bucket, f"{bucket}-other"))


def test_a_url_of_the_older_signature_expires(aws: EmbeddedAws, bucket: str) -> None:
    key = aws.credentials
    request = AWSRequest("GET", f"{aws.endpoint_url}/{bucket}/signed")
    HmacV1QueryAuth(Credentials(key.id, key.secret), expires=-1).add_auth(request)
    assert request.url
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request.url)
    assert code_of(refused.value.headers, refused.value.read()) == "AccessDenied"


def as_somebody(aws: EmbeddedAws, given: dict[str, Any], service: str = "sts", **options: Any) -> Any:
    """A client with keys as IAM and STS give them out."""
    key = given["AccessKeyId"], given["SecretAccessKey"], given.get("SessionToken")
    config = Config(retries={"total_max_attempts": 1}, **options)
    # Its type depends on the name of the service, which is not known here.
    session: Any = boto3.Session(*key, region_name=REGION)
    return session.client(service, endpoint_url=aws.endpoint_url, config=config)


def refused_with(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as refused:
        call()
    return str(refused.value.response["Error"]["Code"])


def test_a_users_key_is_let_in_while_it_is_there_and_switched_on(aws: EmbeddedAws, iam: Any) -> None:
    iam.create_user(UserName="somebody")
    made = iam.create_access_key(UserName="somebody")["AccessKey"]
    named = {"UserName": "somebody", "AccessKeyId": made["AccessKeyId"]}
    somebody = as_somebody(aws, made)
    assert somebody.get_caller_identity()["Arn"].endswith(":user/somebody")
    iam.update_access_key(**named, Status="Inactive")
    assert refused_with(somebody.get_caller_identity) == "InvalidClientTokenId"
    iam.update_access_key(**named, Status="Active")
    assert somebody.get_caller_identity()
    iam.delete_access_key(**named)
    assert refused_with(somebody.get_caller_identity) == "InvalidClientTokenId"


def test_a_users_keys_are_let_in_no_longer_than_the_user_is_there(aws: EmbeddedAws, iam: Any) -> None:
    iam.create_user(UserName="before")
    somebody = as_somebody(aws, iam.create_access_key(UserName="before")["AccessKey"])
    iam.update_user(UserName="before", NewUserName="after")
    assert somebody.get_caller_identity()
    iam.delete_user(UserName="after")
    assert refused_with(somebody.get_caller_identity) == "InvalidClientTokenId"


def test_temporary_keys_are_let_in_with_their_token_until_they_end(
    aws: EmbeddedAws, client: Callable[..., Any], role: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sts = client("sts")
    given = sts.assume_role(RoleArn=role, RoleSessionName="session", DurationSeconds=900)["Credentials"]
    assert as_somebody(aws, given).get_caller_identity()["Arn"].endswith(":assumed-role/jobs/session")
    as_somebody(aws, given, "s3").put_object(Bucket=bucket, Key="temporary", Body=b"x")
    for version in ("s3v4", "s3"):
        s3 = as_somebody(aws, given, "s3", signature_version=version)
        url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "temporary"})
        assert urllib.request.urlopen(url).read() == b"x"
    for token in (None, "another", sts.get_session_token()["Credentials"]["SessionToken"] + "x"):
        other = as_somebody(aws, {**given, "SessionToken": token})
        assert refused_with(other.get_caller_identity) == "InvalidClientTokenId"

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=901)

    monkeypatch.setattr("emflow_emulator.aws.gateway.keys.datetime", Later)
    assert refused_with(as_somebody(aws, given).get_caller_identity) == "ExpiredToken"


def test_a_key_of_one_run_is_nothing_to_another(aws: EmbeddedAws) -> None:
    with EmbeddedAws(port=0) as other:
        key = {"AccessKeyId": aws.credentials.id, "SecretAccessKey": aws.credentials.secret}
        assert refused_with(as_somebody(other, key).get_caller_identity) == "InvalidClientTokenId"
        assert other.credentials.secret != aws.credentials.secret


@pytest.mark.parametrize("options", [{}, {"payload_signing_enabled": False}, {"payload_signing_enabled": True}])
def test_boto3s_ways_to_send_an_object_are_let_in(aws: EmbeddedAws, bucket: str, options: Any) -> None:
    session = boto3.Session(aws.credentials.id, aws.credentials.secret, region_name=REGION)
    s3 = session.client("s3", endpoint_url=aws.endpoint_url, config=Config(s3=options))
    data = bytes(range(256)) * 1000
    s3.put_object(Bucket=bucket, Key="whole", Body=data)
    s3.put_object(Bucket=bucket, Key="streamed", Body=io.BytesIO(data), ChecksumAlgorithm="SHA256")
    s3.upload_fileobj(io.BytesIO(data * 40), bucket, "in-parts")
    assert s3.get_object(Bucket=bucket, Key="whole")["Body"].read() == data
    assert s3.get_object(Bucket=bucket, Key="streamed")["Body"].read() == data
    assert s3.get_object(Bucket=bucket, Key="in-parts")["Body"].read() == data * 40


@pytest.mark.parametrize("seconds", ["0", "-1", "604801", "x", "9" * 5000, ""])
def test_a_url_has_to_say_for_how_long_it_is_good(sender: Sender, seconds: str) -> None:
    call = sender.signed(CALLS["kms"], in_url=60)
    call = replace(call, path=call.path.replace("Expires=60", f"Expires={seconds}"))
    status, headers, body = sender.send(call)
    assert (status, code_of(headers, body)) == (400, "IncompleteSignatureException")


def test_an_unsigned_body_is_for_s3_only(sender: Sender) -> None:
    unsigned = with_header(CALLS["kms"], "X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")
    status, headers, body = sender.send(sender.signed(unsigned))
    assert (status, code_of(headers, body)) == (403, "InvalidSignatureException")


class _Chunked(S3SigV4Auth):
    """Signs that the body comes in signed pieces."""

    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"

    def payload(self, request: Any) -> str:
        return self.kind

    def piece(self, request: Any, before: str, data: bytes) -> str:
        digest = hashlib.sha256
        lines = (
            "AWS4-HMAC-SHA256-PAYLOAD",
            request.context["timestamp"],
            self.credential_scope(request),
            before,
            digest(b"").hexdigest(),
            digest(data).hexdigest(),
        )
        return str(self.signature("\n".join(lines), request))


class _WithTrailer(_Chunked):
    """The same with a checksum behind the pieces, which is signed as well."""

    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"

    def trailer(self, request: Any, before: str, line: bytes) -> str:
        scope, digest = self.credential_scope(request), hashlib.sha256(line + b"\n").hexdigest()
        lines = ("AWS4-HMAC-SHA256-TRAILER", request.context["timestamp"], scope, before, digest)
        return str(self.signature("\n".join(lines), request))


def in_pieces(aws: EmbeddedAws, path: str, *pieces: bytes) -> tuple[AWSRequest, list[tuple[bytes, str]]]:
    """An upload in signed pieces, as SDKs of other languages send it; the request without its body, and the pieces."""
    signer = _Chunked(Credentials(aws.credentials.id, aws.credentials.secret), "s3", REGION)
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": str(sum(map(len, pieces))),
        "Host": f"{aws.host}:{aws.port}",
    }
    request = AWSRequest("PUT", f"{aws.endpoint_url}{path}", headers)
    signer.add_auth(request)
    before = request.headers["Authorization"].rpartition("Signature=")[2]
    signed = []
    for data in (*pieces, b""):
        before = signer.piece(request, before, data)
        signed.append((data, before))
    return request, signed


def chunked(pieces: list[tuple[bytes, str]]) -> bytes:
    return b"".join(b"%x;chunk-signature=%b\r\n%b\r\n" % (len(data), made.encode(), data) for data, made in pieces)


def test_a_body_in_signed_pieces_is_let_in_and_checked_piece_by_piece(sender: Sender, s3: Any, bucket: str) -> None:
    request, pieces = in_pieces(sender.aws, f"/{bucket}/pieces", b"a" * 70000, b"b" * 10)
    call = Call("s3", "PUT", f"/{bucket}/pieces", chunked(pieces), dict(request.headers))
    assert sender.send(call)[0] == 200
    assert s3.get_object(Bucket=bucket, Key="pieces")["Body"].read() == b"a" * 70000 + b"b" * 10
    spoilt = [
        chunked([(b"c" * 70000, pieces[0][1]), *pieces[1:]]),
        chunked([pieces[1], pieces[0], pieces[2]]),
        chunked(pieces[1:]),
        chunked(pieces[:2]),
        chunked([*pieces[:2], (b"", pieces[0][1])]),
        chunked(pieces) + b"x-amz-checksum-crc32:x\r\n",
        b"nonsense",
        b"",
    ]
    for body in spoilt:
        status, headers, answer = sender.send(replace(call, body=body))
        assert (status, code_of(headers, answer)) == (403, "SignatureDoesNotMatch"), body[:100]


def test_pieces_are_signed_as_in_aws_own_example() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html: the numbers there, by our test's signer."""
    signer = _Chunked(Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "s3", REGION)
    request = AWSRequest("PUT", "https://s3.amazonaws.com/examplebucket/chunkObject.txt")
    request.context["timestamp"] = "20130524T000000Z"
    before = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    made = []
    for data in (b"a" * 65536, b"a" * 1024, b""):
        before = signer.piece(request, before, data)
        made.append(before[:8])
    assert made == ["ad80c730", "0055627c", "b6c6ea8a"]
    trailing = _WithTrailer(signer.credentials, "s3", REGION)
    before = "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"
    assert trailing.trailer(request, before, b"x-amz-checksum-crc32c:sOO8/Q==")[:8] == "d81f82fc"


def test_a_trailer_of_signed_pieces_is_signed_too(sender: Sender, s3: Any, bucket: str) -> None:
    signer = _WithTrailer(Credentials(sender.key.id, sender.key.secret), "s3", REGION)
    data = b"a" * 100
    line = b"x-amz-checksum-sha256:" + base64.b64encode(hashlib.sha256(data).digest())
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": "100",
        "X-Amz-Trailer": "x-amz-checksum-sha256",
        "Host": f"{sender.aws.host}:{sender.aws.port}",
    }
    request = AWSRequest("PUT", f"{sender.aws.endpoint_url}/{bucket}/trailing", headers)
    signer.add_auth(request)
    first = signer.piece(request, request.headers["Authorization"].rpartition("Signature=")[2], data)
    last = signer.piece(request, first, b"")
    trailer = b"%b\r\nx-amz-trailer-signature:%b\r\n\r\n"
    made = signer.trailer(request, last, line).encode()
    ends = b"0;chunk-signature=%b\r\n" % last.encode()
    call = Call("s3", "PUT", f"/{bucket}/trailing", headers=dict(request.headers))
    whole = chunked([(data, first)]) + ends
    assert sender.send(replace(call, body=whole + trailer % (line, made)))[0] == 200
    assert s3.get_object(Bucket=bucket, Key="trailing")["Body"].read() == data
    for spoilt in (trailer % (line[:-1], made), trailer % (line, b"x"), line + b"\r\n\r\n", b"\r\n"):
        status, answered, body = sender.send(replace(call, body=whole + spoilt))
        assert (status, code_of(answered, body)) == (403, "SignatureDoesNotMatch"), spoilt


def test_an_address_that_is_open_to_other_machines_is_not_listened_on() -> None:
    with pytest.raises(Problem, match=r"does not listen on 0\.0\.0\.0"):
        EmbeddedAws(port=0, host="0.0.0.0").start()


def test_what_lets_one_in_is_in_no_repr(aws: EmbeddedAws) -> None:
    assert aws.credentials.secret not in repr(aws.credentials)
