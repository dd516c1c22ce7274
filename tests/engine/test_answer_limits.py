"""Answers of AWS have a size and a deadline, however an endpoint sends them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import Certificates
from emflow.engine import answer_limits
from emflow.engine.clients import Clients
from emflow.engine.errors import as_problem
from emflow.problems import Problem
from emflow.workflow.model import Aws
from engine.conftest import IDENTITY

pytestmark = pytest.mark.usefixtures("nobody", "signed_in")

MEGABYTE = b"0" * 2**20


class Endpoint:
    """A server that answers who we are, and everything else with a generator of bytes, until the client has left."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.answer: Iterator[bytes] = iter(())
        self.sent = 0
        self.requests = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(20)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with contextlib.suppress(OSError):
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
        with connection, contextlib.suppress(OSError):
            while request := self._request(connection):
                if b"GetCallerIdentity" in request:
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(IDENTITY)}\r\n\r\n"
                    connection.sendall(head.encode() + IDENTITY.encode())
                    continue
                self.requests += 1
                for part in self.answer:
                    if self._ended.is_set():
                        return
                    connection.sendall(part)
                    self.sent += len(part)
                return

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data and (part := connection.recv(65536)):
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length and (part := connection.recv(65536)):
            body += part
        return head + body


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    server = Endpoint()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    yield server
    server.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def dripping(first: bytes, byte: bytes) -> Iterator[bytes]:
    yield first
    while True:
        time.sleep(0.05)  # the rate is what is tested
        yield byte


def flowing(first: bytes, part: bytes = MEGABYTE, times: int = 3000) -> Iterator[bytes]:
    yield first
    for _ in range(times):
        yield part


CALLS = {
    "iam": lambda client: client.list_roles(),
    "s3": lambda client: client.list_buckets(),
    "greengrassv2": lambda client: client.list_components(),
    "sagemaker": lambda client: client.list_device_fleets(),
}


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize(
    ("first", "byte"),
    [
        (b"H", b""),
        (b"HTTP/1.1 200 O", b"K"),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (HEAD + b"\r\n", b" "),
    ],
    ids=["nothing", "status", "headers", "length", "chunks", "until it is closed"],
)
def test_an_answer_that_comes_by_drops_ends_at_its_deadline_and_is_not_asked_for_again(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, service: str, first: bytes, byte: bytes
) -> None:
    monkeypatch.setattr(answer_limits, "ANSWER_SECONDS", 0.5)
    client = Clients(Aws())(service)
    endpoint.answer = dripping(first, byte)
    started = time.monotonic()
    with pytest.raises(answer_limits.AnswerRefused) as caught:
        CALLS[service](client)
    assert time.monotonic() - started < 10
    problem = as_problem(caught.value)
    assert problem.what == "the answer has not come completely within 0.5 s"
    assert problem.where.startswith(f"{service}:List")
    assert problem.mend
    assert endpoint.requests == 1


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize(
    ("first", "part"),
    [
        (HEAD + b"Content-Length: 3221225472\r\n\r\n", MEGABYTE),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + MEGABYTE + b"\r\n"),
        (HEAD + b"\r\n", MEGABYTE),
    ],
    ids=["length", "chunks", "until it is closed"],
)
def test_an_answer_of_gigabytes_ends_at_its_limit(endpoint: Endpoint, service: str, first: bytes, part: bytes) -> None:
    client = Clients(Aws())(service)
    endpoint.answer = flowing(first, part)
    with pytest.raises(answer_limits.AnswerRefused) as caught:
        CALLS[service](client)
    problem = as_problem(caught.value)
    assert problem.what == "the answer has more than 64 MiB"
    assert endpoint.sent < 200 * 2**20
    assert endpoint.requests == 1


def test_who_we_are_has_the_limits_too(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_limits, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("engine.test_answer_limits.IDENTITY", "")

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            Endpoint._request(connection)
            for part in dripping(HEAD + b"Content-Length: 1000\r\n\r\n", b" "):
                connection.sendall(part)

    monkeypatch.setattr(endpoint, "_serve", serve)
    with pytest.raises(Problem, match=r"sts:GetCallerIdentity: the answer has not come completely within 0\.5 s"):
        Clients(Aws())("iam")


@pytest.mark.parametrize(
    ("answer", "limit"),
    [
        (lambda: dripping(HEAD + b"Content-Length: 1000000\r\n\r\n", b" "), "within 0.5 s"),
        (lambda: flowing(HEAD + b"Content-Length: 3221225472\r\n\r\n"), "more than 512 MiB"),
    ],
)
def test_an_object_in_s3_has_limits_while_it_is_read(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, answer, limit: str
) -> None:
    monkeypatch.setattr(answer_limits, "OBJECT_SECONDS", 0.5 if "0.5" in limit else 60.0)
    client = Clients(Aws())("s3")
    endpoint.answer = answer()
    body = client.get_object(Bucket="bucket", Key="key")["Body"]
    with pytest.raises(answer_limits.AnswerRefused, match=limit):
        for _ in body.iter_chunks(2**20):
            pass


def test_an_object_may_be_larger_and_come_later_than_an_answer_that_is_parsed(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Clients(Aws())("s3")
    monkeypatch.setattr(answer_limits, "ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(answer_limits, "MAX_ANSWER", 1000)
    endpoint.answer = flowing(HEAD + b"Content-Length: 3145728\r\n\r\n", times=3)
    assert len(client.get_object(Bucket="bucket", Key="key")["Body"].read()) == 3 * 2**20


@pytest.mark.parametrize("limit", ["MAX_ANSWER", "ANSWER_SECONDS"])
def test_answers_over_tls_have_the_limits_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, endpoint: Endpoint
) -> None:
    certificates = Certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server.cert, certificates.server.key)
    server = Endpoint(context)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.ca))
    try:
        client = Clients(Aws())("iam")
        if limit == "MAX_ANSWER":
            server.answer = flowing(HEAD + b"Content-Length: 3221225472\r\n\r\n")
        else:
            monkeypatch.setattr(answer_limits, limit, 0.5)
            server.answer = dripping(HEAD + b"Content-Length: 1000000\r\n\r\n", b" ")
        with pytest.raises(answer_limits.AnswerRefused):
            client.list_roles()
        assert server.requests == 1
    finally:
        server.close()


def test_connections_are_used_again_within_the_limits(endpoint: Endpoint) -> None:
    """Many answers over one connection: each has limits of its own, not what those before have left."""
    client = Clients(Aws())("sts")
    started = time.monotonic()
    for _ in range(200):
        assert client.get_caller_identity()["Account"] == "123456789012"
    assert time.monotonic() - started < 20


def test_nobody_makes_clients_of_aws_without_the_limits() -> None:
    sources = Path(answer_limits.__file__).parents[1]
    makers = [
        path.relative_to(sources).as_posix()
        for path in sources.rglob("*.py")
        if any(word in path.read_text() for word in ("boto3.client(", "boto3.resource(", ".client("))
    ]
    assert makers == ["engine/clients.py"]
