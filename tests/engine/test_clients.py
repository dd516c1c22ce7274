"""The way to AWS: what a person reads when it cannot be gone."""

from __future__ import annotations

import re
import socket
import time
from email.utils import formatdate

import boto3
import pytest
from botocore.exceptions import ClientError, ParamValidationError, ProxyConnectionError, SSLError

from emflow.engine.clients import Clients
from emflow.engine.errors import as_problem, is_missing
from emflow.engine.plan import make_plan
from emflow.problems import Problem
from emflow.workflow.model import Aws
from engine.things import error, thing

pytestmark = pytest.mark.usefixtures("nobody")


def calling(clients):
    class Calling:
        def note(self, _):
            clients("iam").list_roles()

    return Calling()


def test_without_credentials_one_problem_names_the_call_and_two_ways_out():
    clients = Clients(Aws())
    with pytest.raises(Problem) as refused:
        make_plan([thing(f"t{number}") for number in range(12)], calling(clients))
    assert str(refused.value).startswith("sts:GetCallerIdentity: no AWS credentials found")
    assert "aws configure" in refused.value.mend
    assert "emflow up" in refused.value.mend
    assert str(refused.value).count("credentials found") == 1


def test_an_endpoint_that_is_not_there_is_reported_within_seconds(monkeypatch, signed_in):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        clients = Clients(Aws())
        started = time.monotonic()
        with pytest.raises(Problem) as refused:
            make_plan([thing(f"t{number}") for number in range(12)], calling(clients))
        assert time.monotonic() - started < 20
    assert refused.value.where == "sts:GetCallerIdentity"
    assert "cannot reach http://127.0.0.1:" in refused.value.what
    assert "emflow local" in refused.value.mend


def test_a_refused_call_is_named_with_what_to_allow(endpoint):
    clients = Clients(Aws())
    clients("iam")  # who we are is answered
    endpoint.answers.append((403, error("AccessDenied", "User x is not authorized to perform: iam:ListRoles")))
    with pytest.raises(Problem) as refused:
        make_plan([thing("t")], calling(clients))
    assert refused.value.where == "iam:ListRoles"
    assert "not authorized" in refused.value.what
    assert "Allow iam:ListRoles" in refused.value.mend


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("ExpiredToken", "sign in again"),
        ("InvalidClientTokenId", "does not know these credentials"),
    ],
)
def test_credentials_that_do_not_work_are_reported_as_such(endpoint, code, words):
    endpoint.answers.append((403, error(code, "no")))
    with pytest.raises(Problem) as refused:
        Clients(Aws())("s3")
    assert refused.value.where == "sts:GetCallerIdentity"
    assert words in refused.value.mend


def test_calls_say_who_makes_them(endpoint):
    Clients(Aws())("iam")
    assert "emflow/" in endpoint.seen[-1]["User-Agent"]


def test_who_we_are_is_asked_once_and_every_client_is_made_once(endpoint):
    clients = Clients(Aws(region="eu-central-1"))
    assert clients("iam") is clients("iam")
    assert clients("s3") is not clients("iam")
    assert clients.account == "123456789012"
    assert clients.arn("iot", "thing/a") == "arn:aws:iot:eu-central-1:123456789012:thing/a"
    assert len(endpoint.seen) == 1


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eu-newland-9", "aws")],
)
def test_regions_of_other_partitions_have_other_arns(endpoint, region, partition):
    assert Clients(Aws(region=region)).arn("iot", "thing/a").startswith(f"arn:{partition}:iot:{region}:")


def test_a_profile_that_does_not_exist_is_named():
    with pytest.raises(Problem, match="nowhere") as refused:
        Clients(Aws(profile="nowhere"))
    assert "aws configure list-profiles" in refused.value.mend


def test_a_value_that_aws_does_not_take_is_named(signed_in):
    client = boto3.client("iam", region_name="us-east-1")
    with pytest.raises(ParamValidationError) as refused:
        client.get_role(RoleName="")
    assert "RoleName" in as_problem(refused.value).what


@pytest.mark.parametrize(
    ("operation", "code", "words", "there_is_none"),
    [
        ("DescribeDeviceFleet", "ValidationException", "No devicefleet with name a found", True),
        ("DescribeDevice", "ValidationException", "No device with name a found", True),
        ("DescribeCompilationJob", "ValidationException", "Could not find requested job", True),
        ("DescribeEdgePackagingJob", "ValidationException", "Requested resource not found.", True),
        ("DescribeDeviceFleet", "ResourceNotFound", "", True),
        ("CreateCompilationJob", "ValidationException", "Could not find model data at s3://a/b", False),
        ("DescribeDeviceFleet", "ValidationException", "1 validation error detected", False),
        ("DescribeDeviceFleet", "AccessDeniedException", "Could not find a policy that allows it", False),
    ],
)
def test_what_aws_does_not_have_is_distinguished_from_what_it_refuses(operation, code, words, there_is_none):
    refused = ClientError({"Error": {"Code": code, "Message": words}}, operation)
    assert is_missing(refused) is there_is_none


def test_an_address_that_is_none_is_reported_with_an_example_of_one(monkeypatch, signed_in):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "garbage")
    with pytest.raises(Problem, match="Invalid endpoint: garbage") as refused:
        make_plan([thing("t")], calling(Clients(Aws())))
    assert "AWS_ENDPOINT_URL" in refused.value.mend


PAGE = "<!DOCTYPE HTML><html><head><title>Hello</title></head><body><p>Hello<br></body></html>"


@pytest.mark.parametrize(("status", "page"), [(200, "<html/>"), (200, PAGE), (404, PAGE), (501, PAGE)])
def test_a_web_server_is_distinguished_from_aws(endpoint, status, page):
    endpoint.answers += [(status, page)] * 20
    with pytest.raises(Problem, match=r"does not answer like AWS|HTTP 501 from http://127\.") as refused:
        make_plan([thing("t")], calling(Clients(Aws())))
    assert refused.value.where == "sts:GetCallerIdentity"


def test_a_page_of_the_web_in_place_of_a_later_answer_is_reported_too(endpoint):
    clients = Clients(Aws())
    clients("iam")
    endpoint.answers.append((404, PAGE))
    with pytest.raises(Problem, match="iam:ListRoles: this endpoint does not answer like AWS"):
        make_plan([thing("t")], calling(clients))


SERVICES = {
    "iam": lambda client: client.list_roles(),
    "s3": lambda client: client.list_buckets(),
    "iot": lambda client: client.list_things(),
    "greengrassv2": lambda client: client.list_components(),
    "sagemaker": lambda client: client.list_device_fleets(),
}
"""A call of each protocol that AWS's services speak: query, XML, and JSON of two kinds."""


def calling_each(clients, service):
    class Calling:
        def note(self, _):
            SERVICES[service](clients(service))

    return Calling()


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("status", [200, 302, 403, 404, 407, 511])
@pytest.mark.parametrize("page", [PAGE, "<html/>", '<?xml version="1.0"?>\n<!-- x -->\n<html><title>x</title></html>'])
def test_a_page_of_a_proxy_or_a_portal_is_reported_for_every_service(endpoint, pauses, service, status, page):
    clients = Clients(Aws())
    clients(service)
    endpoint.answers += [(status, page, {"Content-Type": "text/html"})] * 20
    with pytest.raises(Problem) as refused:
        make_plan([thing("t")], calling_each(clients, service))
    assert refused.value.where.startswith(f"{service}:List")
    assert re.search(r"does not answer like AWS|HTTP 511 from|the proxy refuses", refused.value.what)
    if status < 407:
        assert "HTTPS_PROXY" in refused.value.mend
        assert "sign in to the network" in refused.value.mend
    assert refused.value.mend
    assert "<html" not in str(refused.value)


CLOCK = {
    "iam": (403, error("SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than")),
    "s3": (403, "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>"),
    "iot": (403, '{"message": "Signature not yet current: 2026 is still later than"}'),
    "greengrassv2": (403, '{"message": "Signature expired: 2026 is now earlier than"}'),
    "sagemaker": (400, '{"__type": "InvalidSignatureException", "message": "Signature expired: now earlier"}'),
}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("hours", "words"),
    [(2, "is 120 minutes behind that of AWS"), (-2, "is 120 minutes ahead of that of AWS"), (0, "differ by more")],
)
def test_a_clock_that_is_wrong_is_reported_as_such(endpoint, service, hours, words):
    clients = Clients(Aws())
    clients(service)
    status, body = CLOCK[service]
    date = formatdate(time.time() + hours * 3600, usegmt=True)
    endpoint.answers.append((status, body, {"Date": date}))
    with pytest.raises(Problem) as refused:
        make_plan([thing("t")], calling_each(clients, service))
    assert words in refused.value.mend
    assert "set it (NTP)" in refused.value.mend


def test_a_refusal_without_a_reason_is_no_matter_of_rights_when_the_clocks_are_apart(endpoint):
    clients = Clients(Aws())
    clients("s3")
    date = formatdate(time.time() + 86400, usegmt=True)
    endpoint.answers.append((403, "", {"Date": date}))
    with pytest.raises(Problem, match="1,440 minutes behind"):
        make_plan([thing("t")], calling_each(clients, "s3"))


def test_a_certificate_that_is_not_trusted_and_a_proxy_that_refuses_come_with_advice():
    untrusted = as_problem(
        SSLError(endpoint_url="https://iam.amazonaws.com", error=ValueError("self-signed certificate"))
    )
    assert "AWS_CA_BUNDLE" in untrusted.mend
    assert "https://iam.amazonaws.com" in untrusted.what
    refused = as_problem(ProxyConnectionError(proxy_url="http://proxy", error="407"))
    assert "HTTPS_PROXY" in refused.mend


def test_an_outage_without_a_word_is_waited_for_and_then_reported_by_its_status(endpoint, pauses):
    endpoint.answers += [(503, "")] * 5
    assert Clients(Aws()).account == "123456789012"
    endpoint.answers += [(503, "")] * 20
    with pytest.raises(Problem, match=r"sts:GetCallerIdentity: HTTP 503 from http://127\.0\.0\.1:\d+\n") as refused:
        Clients(Aws())("iam")
    assert "Run it again" in refused.value.mend


def test_half_a_pair_of_credentials_is_reported_with_what_is_missing(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    with pytest.raises(Problem, match=r"no usable AWS credentials: .*AWS_SECRET_ACCESS_KEY"):
        Clients(Aws())("iam")
