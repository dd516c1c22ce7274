"""The gateway: found by AWS_ENDPOINT_URL alone, quick, tidy, and clear about what it does not have."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from emflow.problems import Problem
from emflow_emulator import connections
from emflow_emulator.access import AccessKey
from emflow_emulator.aws import EmbeddedAws
from emflow_emulator.aws.gateway import server
from emflow_emulator.aws.gateway.routing import Regions
from emulator.aws.pieces import signed
from support import until

MANAGED = [
    "service-role/AmazonSageMakerEdgeDeviceFleetPolicy",
    "AmazonS3FullAccess",
    "service-role/AWSIoTLogging",
    "service-role/AWSIoTRuleActions",
    "service-role/AWSIoTThingsRegistration",
    "AmazonSageMakerFullAccess",
    "AWSIoTFullAccess",
    "AWSGreengrassFullAccess",
]


def test_boto3_needs_only_the_endpoint_in_its_environment(aws: EmbeddedAws) -> None:
    program = (
        "import boto3; print(boto3.client('sts').get_caller_identity()['Account'],"
        " boto3.client('greengrassv2').list_components(scope='PUBLIC')['components'][0]['componentName'],"
        " boto3.client('sagemaker').list_device_fleets(NameContains='never')['DeviceFleetSummaries'])"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_ACCESS_KEY_ID": aws.credentials.id,
        "AWS_SECRET_ACCESS_KEY": aws.credentials.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    output = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert output.split() == ["123456789012", "aws.greengrass.Cli", "[]"]


def test_health_names_the_services(aws: EmbeddedAws) -> None:
    with urllib.request.urlopen(f"{aws.endpoint_url}/_emflow/health") as response:
        services = json.load(response)["services"]
    assert set(services) == {
        "greengrassv2",
        "iam",
        "iot",
        "iot-data",
        "kms",
        "resourcegroupstaggingapi",
        "s3",
        "sagemaker",
        "secretsmanager",
        "sts",
    }


@pytest.mark.parametrize(
    ("service", "call"),
    [
        ("dynamodb", "list_tables"),  # JSON
        ("lambda", "list_functions"),  # REST JSON
        ("sns", "list_topics"),  # query
        ("ec2", "describe_regions"),  # EC2's own
        ("xray", "get_groups"),
    ],
)
def test_a_service_that_is_not_there_is_refused_by_name(client: Callable[..., Any], service: str, call: str) -> None:
    with pytest.raises(ClientError, match="the embedded AWS does not have the service") as refused:
        getattr(client(service), call)()
    assert refused.value.response["Error"]["Code"] == "UnknownService"


def test_an_operation_that_is_not_there_is_refused_by_name(client: Callable[..., Any]) -> None:
    with pytest.raises(ClientError, match="does not have ListTrainingJobs of sagemaker"):
        client("sagemaker").list_training_jobs()
    with pytest.raises(ClientError, match="list_audit_findings"):
        client("iot").list_audit_findings()


def test_greengrass_of_the_first_version_is_not_there(client: Callable[..., Any]) -> None:
    with pytest.raises(ClientError, match="greengrassv2 has no operation"):
        client("greengrass").list_groups()


def test_a_presigned_url_needs_no_other_credentials(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="signed", Body=b"for whoever has the URL")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "signed"})
    with urllib.request.urlopen(url) as response:
        assert response.read() == b"for whoever has the URL"


def test_an_object_keeps_its_sha256(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="summed", Body=b"abc", ChecksumAlgorithm="SHA256")
    head = s3.head_object(Bucket=bucket, Key="summed", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
    assert head["ContentLength"] == 3


def test_an_object_is_written_only_where_there_is_none_when_asked_so(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="lock", Body=b"mine", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="lock", Body=b"yours", IfNoneMatch="*")


@pytest.mark.parametrize("policy", MANAGED)
def test_the_workshops_managed_policies_can_be_attached(iam: Any, role: str, policy: str) -> None:
    arn = f"arn:aws:iam::aws:policy/{policy}"
    iam.attach_role_policy(RoleName="jobs", PolicyArn=arn)
    attached = iam.list_attached_role_policies(RoleName="jobs")["AttachedPolicies"]
    assert arn in [each["PolicyArn"] for each in attached]


def test_one_connection_carries_many_requests(aws: EmbeddedAws) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=20)
    connection.connect()
    mine = connection.sock.getsockname()
    for _ in range(3):
        connection.request("GET", "/_emflow/health")
        response = connection.getresponse()
        assert response.status == 200
        response.read()
        assert connection.sock.getsockname() == mine
    # A body that nobody reads must not be taken for the next request.
    connection.request("PUT", "/_emflow/nothing", body=b"GET / HTTP/1.1\r\n\r\n")
    assert connection.getresponse().read()
    connection.request("GET", "/_emflow/health")
    assert connection.getresponse().status == 200
    connection.close()


def test_calls_from_many_threads_do_not_get_in_each_others_way(client: Callable[..., Any], bucket: str) -> None:
    s3, greengrass = client("s3"), client("greengrassv2")

    def work(number: int) -> bytes:
        s3.put_object(Bucket=bucket, Key=f"parallel/{number}", Body=str(number).encode())
        assert greengrass.list_components(scope="PUBLIC")["components"]
        body: bytes = s3.get_object(Bucket=bucket, Key=f"parallel/{number}")["Body"].read()
        return body

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(40))) == [str(number).encode() for number in range(40)]


def test_regions_do_not_see_each_others_components(client: Callable[..., Any], component: Callable[..., Any]) -> None:
    _, name = component()
    elsewhere = client("greengrassv2", region="eu-west-1")
    assert name not in [each["componentName"] for each in elsewhere.list_components()["components"]]


def test_a_taken_port_is_a_problem_that_says_which(aws: EmbeddedAws) -> None:
    with pytest.raises(Problem, match=f"port {aws.port} on 127.0.0.1 is taken") as problem:
        EmbeddedAws(port=aws.port).start()
    assert "--port" in problem.value.mend


def test_stopping_frees_the_port_and_ends_every_thread() -> None:
    before = set(threading.enumerate())
    embedded = EmbeddedAws(port=0).start()
    port = embedded.port
    idle = http.client.HTTPConnection("127.0.0.1", port)
    idle.request("GET", "/_emflow/health")
    idle.getresponse().read()
    embedded.stop()
    assert idle.sock.recv(1) == b""
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(60)
    assert not [thread for thread in left if thread.is_alive()]
    embedded.stop()


def answer_to(aws: EmbeddedAws, sent: bytes) -> bytes:
    """All that comes back to bytes, until the other side closes the connection."""
    with socket.create_connection(("127.0.0.1", aws.port), timeout=20) as connection:
        connection.sendall(sent)
        answer = b""
        while data := connection.recv(65536):
            answer += data
        return answer


def head_of(request: urllib.request.Request, **headers: str) -> bytes:
    """A signed request without its body, and with other headers on top."""
    assert request.host
    assert request.selector
    given = {"Host": request.host, **dict(request.header_items()), **headers}
    lines = [
        f"{request.get_method()} {request.selector} HTTP/1.1",
        *(f"{name}: {text}" for name, text in given.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("stranger", ["Host: evil.example", "Host: 127.0.0.1\r\nOrigin: http://a", "Host: 127.0.0.1"])
def test_the_body_of_a_request_that_is_not_let_in_is_not_waited_for(aws: EmbeddedAws, stranger: str) -> None:
    head = f"POST / HTTP/1.1\r\n{stranger}\r\nContent-Type: text/plain\r\nContent-Length: 1000000000000\r\n\r\n"
    answer = answer_to(aws, head.encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"Connection: close" in answer


def test_a_body_that_is_waited_for_is_asked_for_only_when_its_head_is_let_in(aws: EmbeddedAws) -> None:
    head = b"PUT /a/b HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    assert answer_to(aws, head).startswith(b"HTTP/1.1 403 ")


def test_an_object_is_not_waited_for_when_its_head_was_signed_with_another_key(aws: EmbeddedAws, bucket: str) -> None:
    wrong = AccessKey(aws.credentials.id, "another-secret")
    request = signed(f"{aws.endpoint_url}/{bucket}/a", b"", wrong, "s3", "PUT")
    answer = answer_to(aws, head_of(request, **{"Content-Length": str(2 * 1024**3)}))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"SignatureDoesNotMatch" in answer


def test_a_body_larger_than_any_call_has_is_refused(aws: EmbeddedAws) -> None:
    request = signed(f"{aws.endpoint_url}/things/a", b"{}", aws.credentials, "iot")
    answer = answer_to(aws, head_of(request, **{"Content-Length": "100000000"}))
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "framing",
    [
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: gzip",
        "Content-Length: 0\r\nContent-Length: 5",
        f"Content-Length: {10**30}",
    ],
)
def test_a_body_whose_end_is_in_doubt_is_refused(aws: EmbeddedAws, framing: str) -> None:
    request = signed(f"{aws.endpoint_url}/things", None, aws.credentials, "iot", "GET")
    head = head_of(request).removesuffix(b"\r\n")
    answer = answer_to(aws, head + framing.encode() + b"\r\n\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_an_object_whose_client_left_before_its_end_is_not_kept(aws: EmbeddedAws, s3: Any, bucket: str) -> None:
    unsigned = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    request = signed(f"{aws.endpoint_url}/{bucket}/half", b"", aws.credentials, "s3", "PUT", unsigned)
    with socket.create_connection(("127.0.0.1", aws.port), timeout=20) as connection:
        connection.sendall(head_of(request, **{"Content-Length": "10"}) + b"half")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket, Prefix="half")


def test_who_says_nothing_is_not_waited_for_for_ever(aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server._Connection, "timeout", 0.2)
    assert answer_to(aws, b"") == b""
    assert answer_to(aws, b"GET / HTTP/1.1\r\nHost: ") == b""


def accepted(aws: EmbeddedAws, stack: contextlib.ExitStack) -> socket.socket:
    """A connection with a request that was accepted, kept open."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", aws.port), timeout=20))
    connection.sendall(head_of(signed(f"{aws.endpoint_url}/things", None, aws.credentials, "iot", "GET")))
    assert answer_on(connection).startswith(b"HTTP/1.1 200 ")
    return connection


def answer_on(connection: socket.socket) -> bytes:
    """One answer of a connection that stays open."""
    answer = b""
    while not (length := re.search(rb"Content-Length: (\d+)\r\n", answer)) or len(
        answer.partition(b"\r\n\r\n")[2]
    ) < int(length[1]):
        data = connection.recv(65536)
        assert data, answer
        answer += data
    return answer


def test_only_so_many_connections_are_open_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "AT_ONCE", 3)
    with EmbeddedAws(port=0) as aws, contextlib.ExitStack() as stack:
        for _ in range(3):
            accepted(aws, stack)
        assert answer_to(aws, b"") == b""


def test_connections_without_an_accepted_request_are_closed_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "AT_ONCE", 3)
    health = b"GET /_emflow/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with EmbeddedAws(port=0) as aws, contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.create_connection(("127.0.0.1", aws.port), timeout=20))
        asking = stack.enter_context(socket.create_connection(("127.0.0.1", aws.port), timeout=20))
        asking.sendall(health)
        assert answer_on(asking).startswith(b"HTTP/1.1 200 ")
        kept = accepted(aws, stack)
        accepted(aws, stack)
        assert silent.recv(1) == b""
        accepted(aws, stack)
        assert asking.recv(1) == b""
        kept.sendall(health)
        assert answer_on(kept).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [b"x", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], ids=["a byte", "refused"])
def test_a_slow_client_without_an_accepted_request_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "FIRST_REQUEST_SECONDS", 0.5)
    with EmbeddedAws(port=0) as aws, socket.create_connection(("127.0.0.1", aws.port)) as connection:
        connection.settimeout(0.05)

        def closed() -> bool:
            try:
                connection.sendall(sent)
                return not connection.recv(65536)
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until(closed)


@pytest.mark.parametrize(
    "head",
    [b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 60_000 + b"\r\n" + b"Y: " + b"y" * 60_000 + b"\r\n\r\n",
     b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(90)) + b"\r\n",
     b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 200 + b"\r\n"],
)  # fmt: skip
def test_a_head_larger_than_any_request_has_is_refused(aws: EmbeddedAws, head: bytes) -> None:
    assert answer_to(aws, head).startswith(b"HTTP/1.1 431 ")


def test_a_compressed_body_is_not_unpacked(aws: EmbeddedAws, s3: Any, bucket: str) -> None:
    body, kind = gzip.compress(bytes(10**8)), "application/x-www-form-urlencoded"
    headers = {"Content-Encoding": "gzip", "Content-Type": kind}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(signed(f"{aws.endpoint_url}/", body, aws.credentials, "iam", "POST", headers))
    assert refused.value.code == 400
    assert b"does not take Content-Encoding" in refused.value.read()
    s3.put_object(Bucket=bucket, Key="packed", Body=body, ContentEncoding="gzip")
    assert s3.get_object(Bucket=bucket, Key="packed")["Body"].read() == body
    with pytest.raises(ClientError, match="MethodNotAllowed"):
        s3.select_object_content(
            Bucket=bucket,
            Key="packed",
            Expression="SELECT * FROM S3Object",
            ExpressionType="SQL",
            InputSerialization={"CSV": {}, "CompressionType": "GZIP"},
            OutputSerialization={"CSV": {}},
        )


def test_bodies_that_are_read_at_the_same_time_are_limited_together(
    aws: EmbeddedAws, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LARGEST_TOGETHER", 1000)

    def refused(size: int) -> bool:
        try:
            s3.put_object(Bucket=bucket, Key="other", Body=bytes(size))
        except ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        return False

    until(lambda: not refused(20))  # what went before is over
    request = signed(f"{aws.endpoint_url}/{bucket}/slow", b"a" * 950, aws.credentials, "s3", "PUT")
    with socket.create_connection(("127.0.0.1", aws.port), timeout=20) as slow:
        slow.sendall(head_of(request, **{"Content-Length": "950"}) + b"a")
        assert aws._server
        until(lambda: aws._server.connections._reading >= 950)  # type: ignore[union-attr]
        assert refused(200)
        slow.sendall(b"a" * 949)
        assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")
    until(lambda: not refused(200))


@pytest.mark.parametrize("length", ["-1", "abc", "1.5", "+1", "²"])
def test_a_length_that_is_none_is_refused_at_once(aws: EmbeddedAws, length: str) -> None:
    with socket.create_connection(("127.0.0.1", aws.port), timeout=20) as connection:
        head = f"POST /_emflow/cores/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while data := connection.recv(65536):
            answer += data

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Content-Length" in answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("path", "service"),
    [("/_emflow/cores/x", "emflow"), ("/greengrass/v2/components", "greengrass"), ("/", "sagemaker")],
)
def test_a_request_that_is_nested_too_deeply_is_refused(aws: EmbeddedAws, path: str, service: str) -> None:
    headers = {"X-Amz-Target": "SageMaker.ListDeviceFleets"}
    if service == "sagemaker":
        headers["Content-Type"] = "application/x-amz-json-1.1"
    method = "GET" if service == "greengrass" else "POST"
    request = signed(f"{aws.endpoint_url}{path}", b"[" * 100_000, aws.credentials, service, method, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)

    assert refused.value.code == 400
    assert b"nested too deeply" in refused.value.read()


def test_asking_where_a_thing_is_may_ask_the_front_door_again() -> None:
    found: list[object] = []

    class Asking:
        """A region whose IoT is reached by a request of its own, which looks the region up in another thread."""

        def knows(self, thing: str) -> bool:
            request = threading.Thread(target=regions, args=("us-east-1",), daemon=True)
            request.start()
            request.join(60)
            assert not request.is_alive()
            return True

    regions = Regions(lambda account_region: Asking())  # type: ignore[arg-type, return-value]
    made = regions("eu-west-1")
    report = threading.Thread(target=lambda: found.append(regions.of("board")), daemon=True)
    report.start()
    report.join(10)

    assert found == [made]


def test_an_answer_without_content_has_no_body(
    aws: EmbeddedAws, iot: Any, greengrass: Any, fresh: Callable[[str], str]
) -> None:
    name = fresh("core")
    iot.create_thing(thingName=name)
    report = {"coreVersion": "2", "platform": "linux", "architecture": "amd64", "status": "HEALTHY"}
    connection = http.client.HTTPConnection(aws.host, aws.port, timeout=20)
    for method, path, body, service in (
        ("POST", f"/_emflow/cores/{name}", report, "emflow"),
        ("DELETE", f"/greengrass/v2/coreDevices/{name}", None, "greengrass"),
    ):
        request = signed(f"{aws.endpoint_url}{path}", body, aws.credentials, service, method)
        connection.request(method, path, request.data, dict(request.header_items()))
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Content-Length")) == (204, None)
        # Right from the socket: the client itself reads no body of such an answer.
        assert answer.read() == b""
        connection.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.sock.recv(1)
        connection.sock.settimeout(10)
    connection.close()


@pytest.fixture
def names_under_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve names under `localhost` as most systems do, to loopback."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        ours = isinstance(host, str) and host.endswith(".localhost")
        return resolve("127.0.0.1" if ours else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.usefixtures("names_under_localhost")
@pytest.mark.parametrize("signature", ["s3v4", "s3"])
def test_a_bucket_may_stand_in_the_host(aws: EmbeddedAws, fresh: Callable[[str], str], signature: str) -> None:
    config = Config(s3={"addressing_style": "virtual"}, retries={"total_max_attempts": 1})
    session = boto3.Session(aws.credentials.id, aws.credentials.secret, region_name="us-east-1")
    endpoint = f"http://localhost:{aws.port}"
    s3, name = session.client("s3", endpoint_url=endpoint, config=config), fresh("virtual")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"Tags": [{"Key": "a", "Value": "b"}]})
    assert s3.get_bucket_tagging(Bucket=name)["TagSet"] == [{"Key": "a", "Value": "b"}]
    for key in ("a b/ü+%2F", "_emflow/health"):
        s3.put_object(Bucket=name, Key=key, Body=key.encode())
        assert s3.get_object(Bucket=name, Key=key)["Body"].read() == key.encode()
    assert s3.list_objects_v2(Bucket=name, Prefix="a b/")["KeyCount"] == 1
    signing = session.client("s3", endpoint_url=endpoint, config=config.merge(Config(signature_version=signature)))
    url = signing.generate_presigned_url("get_object", {"Bucket": name, "Key": "a b/ü+%2F"})
    assert url.startswith(f"http://{name}.localhost:{aws.port}/a%20b/")
    with urllib.request.urlopen(url) as response:
        assert response.read() == "a b/ü+%2F".encode()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{name}.localhost:{aws.port}/_emflow/health")
    assert refused.value.code == 403
    for key in ("a b/ü+%2F", "_emflow/health"):
        s3.delete_object(Bucket=name, Key=key)
    s3.delete_bucket(Bucket=name)


@pytest.mark.parametrize("path", ["/moto-api/reset", "/moto-api/data.json", "/moto-api/", "/a-bucket/a-key"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_signed_request_that_no_service_knows_is_no_failure(
    aws: EmbeddedAws, s3: Any, bucket: str, path: str, method: str
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(signed(f"{aws.endpoint_url}{path}", b"", aws.credentials, "s3", method))
    assert refused.value.code < 500 or refused.value.code == 501
    assert b"<Code>" in refused.value.read()
    assert bucket in [each["Name"] for each in s3.list_buckets()["Buckets"]]  # nothing was reset
