"""S3 as the agent meets it: what is worth another try, what somebody has to mend, and credentials that come late."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest

from agent.capture.s3_proxy import KEY_ID, KEY_SECRET, S3Proxy, StoredCaptures
from agent.capture.test_offline import capture
from emflow_agent.capture.jsonl import Batch, make_batch
from emflow_agent.capture.s3 import CaptureBucket, S3Unreachable, UploadRejected
from emflow_agent.capture.settings import CaptureSettings

BATCH = make_batch([capture(size=5000)], CaptureSettings(fleet="f", bucket="b"), 1e9)


@pytest.fixture
def without_credentials(network: S3Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment as on a core, where nobody keeps keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


@pytest.fixture
def token_exchange(cloud: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The endpoint that a core has for credentials; what it answers with can be changed."""
    answer: dict[str, Any] = {"status": 200, "asked": []}
    sts = boto3.Session(KEY_ID, KEY_SECRET, region_name="us-east-1").client("sts", endpoint_url=cloud)
    given = sts.get_session_token()["Credentials"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer["asked"].append(self.headers["Authorization"])
            body = json.dumps({**given, "Token": given["SessionToken"]}, default=datetime.isoformat).encode()
            self.send_response(answer["status"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{server.server_port}/creds")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "svcuid")
    yield answer
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("without_credentials")
def test_credentials_are_the_token_exchange_s_when_it_has_them(
    bucket: StoredCaptures, token_exchange: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0.01
    )  # between its tries, in place of 1 s
    place = CaptureBucket(bucket.name)
    token_exchange["status"] = 500
    with pytest.raises(S3Unreachable):
        place.store(BATCH)
    token_exchange["status"] = 200
    place.store(BATCH)
    assert set(token_exchange["asked"]) == {"svcuid"}
    assert bucket.lines() == [BATCH.key]


@pytest.mark.usefixtures("without_credentials")
def test_without_any_credentials_it_says_what_to_deploy_and_looks_again(
    bucket: StoredCaptures, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = CaptureBucket(bucket.name)
    with pytest.raises(UploadRejected, match=r"deploy aws\.greengrass\.TokenExchangeService"):
        place.store(BATCH)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY_SECRET)
    place.store(BATCH)
    assert bucket.lines() == [BATCH.key]


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (503, "SlowDown", S3Unreachable),
        (500, "InternalError", S3Unreachable),
        (400, "ExpiredToken", S3Unreachable),
        (403, "RequestTimeTooSkewed", S3Unreachable),
        (403, "AccessDenied", UploadRejected),
        (400, "EntityTooLarge", UploadRejected),
    ],
)
def test_answers_of_s3_are_distinguished(
    network: S3Proxy, monkeypatch: pytest.MonkeyPatch, status: int, code: str, error: type[Exception]
) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # so that it says "100 Continue", for which boto3 would wait a second

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    small = Batch("a.jsonl", (), b"{}\n", ())
    with pytest.raises(error, match=f"s3://name: {code}: so it is"):
        CaptureBucket("name").store(small)
    server.shutdown()
    server.server_close()


def test_something_that_is_no_s3_is_no_network(network: S3Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    network.down()
    with pytest.raises(S3Unreachable):
        CaptureBucket("name").store(BATCH)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no address")
    with pytest.raises(S3Unreachable):
        CaptureBucket("name").store(BATCH)
