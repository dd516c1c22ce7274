"""The gateway's WSGI application: checks the signature of a request and passes it to the service that it is for.

The credential scope of a signature names the service, so one address is enough for all services. Unsigned requests are
refused, except the health check.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable
from email.message import Message
from http import HTTPStatus
from typing import Any

from emflow.json_text import from_json
from emflow_emulator import loopback
from emflow_emulator.access import AccessKey
from emflow_emulator.aws import moto_backend, moto_buckets
from emflow_emulator.aws.account_region import REGION, AccountRegion
from emflow_emulator.aws.errors import ApiError
from emflow_emulator.aws.gateway import refusals
from emflow_emulator.aws.gateway.keys import Keys
from emflow_emulator.aws.gateway.refusals import RequestRefused
from emflow_emulator.aws.gateway.region import TAGGING, Region
from emflow_emulator.aws.gateway.signatures import Request, Verifier
from emflow_emulator.aws.iot_data import IOT_DATA, IotData
from emflow_emulator.aws.iot_tags import IotTags
from emflow_emulator.aws.protocol import Answer
from emflow_emulator.aws.s3_tags import S3Tags

log = logging.getLogger(__name__)

OURS = {"greengrass": "greengrassv2", "sagemaker": "sagemaker"}
"""Name in the credential scope → botocore's name, for the services that are not moto's."""

EDGE = "sagemaker-edge"
"""Botocore's name of the service that agents of SageMaker Edge Manager call."""

EDGE_PATHS = frozenset({"/GetDeployments", "/GetDeviceRegistration", "/SendHeartbeat"})
"""Its operations."""

HEADERS = "emflow.headers"
"""The key of the WSGI environment with the original headers: a signature depends on their spelling and number."""

REPORTS = "emflow"
"""The service name in the signatures of core devices' status reports."""

_REPORT = re.compile(r"/_emflow/cores/(?P<thing>[a-zA-Z0-9:_-]{1,128})")


class Regions:
    """The regions that have been called so far; each is made at its first call."""

    def __init__(self, make: Callable[[AccountRegion], Region]) -> None:
        self._make = make
        self._made: dict[str, Region] = {}
        self._things: dict[str, Region] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str) -> Region:
        with self._lock:
            if name not in self._made:
                self._made[name] = self._make(AccountRegion(name))
            return self._made[name]

    def of(self, thing: str) -> Region:
        """The region of a thing, found by asking the IoT of each region: its reports do not name their region."""
        with self._lock:
            cached, made = self._things.get(thing), list(self._made.values())
        # Not under the lock: `knows` sends a request to IoT, which uses this object again.
        region = cached or next((each for each in made if each.knows(thing)), None)
        if region:
            self._things[thing] = region
        return region or self(REGION)

    def stop(self) -> None:
        for region in self._made.values():
            region.stop()


class Router:
    """The WSGI application of the embedded AWS.

    Args:
        regions: the services of each region.
        credentials: the accepted access key; keys that the embedded IAM and STS have issued are accepted too.
        iot_data: the data endpoint of IoT.
    """

    def __init__(self, regions: Regions, credentials: AccessKey, iot_data: IotData) -> None:
        self._regions = regions
        self._moto = moto_backend.MotoBackend()
        self._keys = Keys(credentials, self._moto.answer)
        self._verifier = Verifier(self._keys)
        self._iot = IotTags(self._moto.answer)
        self._s3 = S3Tags(self._moto.answer)
        self._iot_data = iot_data

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            answer = self._answer(environ)
        except RecursionError:
            answer = Answer.refusal(400, "SerializationException", "the request is nested too deeply")
        except Exception:
            log.exception("%s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            answer = Answer.refusal(500, "InternalFailure", "the embedded AWS failed; its log says how")
        status = f"{answer.status} {phrase(answer.status)}"
        # moto lets web pages of all origins read everything; S3 would, where a bucket is set up so.
        headers = [pair for pair in answer.headers.items() if not pair[0].lower().startswith("access-control-")]
        start_response(status, headers)
        return [answer.body]

    def largest_body(self, environ: dict[str, Any]) -> int | Answer:
        """How many bytes of a body to read, by the head of its request; the answer where the body does not matter."""
        method, headers = environ["REQUEST_METHOD"], environ[HEADERS]
        objection = loopback.objection(method, environ["RAW_URI"], headers, buckets=True)
        if objection:
            return refusals.refusal(refusals.guessed(headers), 403, "AccessDenied", objection)
        if _asks_for_health(environ):
            return 0
        try:
            return self._verifier.largest_body(Request(method, environ["RAW_URI"], headers, b""))
        except RequestRefused as refused:
            return refused.answer(headers)
        except Exception:
            log.exception("%s %s failed", method, environ["PATH_INFO"])
            return Answer.refusal(500, "InternalFailure", "the embedded AWS failed; its log says how")

    def _answer(self, environ: dict[str, Any]) -> Answer:
        """What a request gets whose head was let in by `largest_body`."""
        method, headers = environ["REQUEST_METHOD"], environ[HEADERS]
        if _asks_for_health(environ):
            return _health()
        body = environ["wsgi.input"].read()
        environ["wsgi.input"].seek(0)
        try:
            scope = self._verifier.check(Request(method, environ["RAW_URI"], headers, body))
        except RequestRefused as refused:
            return refused.answer(headers)
        bucket, host = loopback.bucket_in_host(headers)
        if bucket and scope.service != "s3":
            protocol = refusals.PROTOCOLS.get(scope.service, refusals.guessed(headers))
            return refusals.refusal(protocol, 403, "AccessDenied", loopback.NOT_OURS)
        if bucket:
            environ = _with_path_style(environ, bucket, host)
        service = _client_service(scope.service, environ)
        objection = refusals.objection_to_content_type(service, headers)
        objection = objection or refusals.objection_to_encoding(service, headers)
        if objection:
            return refusals.refusal(refusals.protocol(service, headers), 400, "SerializationException", objection)
        if environ["PATH_INFO"].startswith("/_emflow/") and scope.service == REPORTS:
            return self._own(environ)
        return self._of(scope.region, service, environ)

    def _of(self, region: str, service: str, environ: dict[str, Any]) -> Answer:
        """The answer of a service."""
        if service == "tagging":
            return self._regions(region).answer_tagging(environ, self._iot.tagged(), self._s3.tagged(region))
        if service in OURS or service == EDGE:
            return self._regions(region).answer(OURS.get(service, service), environ)
        match service:
            case "iot":
                # Makes the region, so that `of` finds a thing that is made before any other call.
                return self._regions(region).answer_job(environ) or self._iot.answer(environ)
            case "iotdata":
                return self._iot_data.answer(environ)
            case "s3":
                if objection := moto_buckets.objection(environ):
                    return refusals.refusal("rest-xml", 403, "AccessDenied", objection)
                return self._s3.answer(environ)
            case "iam" | "sts":
                return self._keys.answer(service, environ)
            case _ if service in moto_backend.SERVICES:
                return self._moto.answer(service, environ)
        return _not_served(service, environ[HEADERS])

    def _own(self, environ: dict[str, Any]) -> Answer:
        """The answer to a request that is not AWS's: a status report, which a real nucleus would send over MQTT."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        report = _REPORT.fullmatch(path)
        if method == "POST" and report:
            try:
                document = from_json(environ["wsgi.input"].read() or b"null")
                self._regions.of(report["thing"]).report(report["thing"], document)
            except ApiError as error:
                return Answer.refusal(400, error.code, error.message)
            except ValueError as error:
                return Answer.refusal(400, "SerializationException", f"the report is not JSON: {error}")
            return Answer(204, {}, b"")
        return Answer.refusal(404, "UnknownOperationException", f"the embedded AWS has no {method} {path}")


def _asks_for_health(environ: dict[str, Any]) -> bool:
    asked = (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("GET", "/_emflow/health")
    return asked and not loopback.bucket_in_host(environ[HEADERS])[0]


def _with_path_style(environ: dict[str, Any], bucket: str, host: str) -> dict[str, Any]:
    """A request to S3 with the bucket in its path instead of its host."""
    paths = {name: f"/{bucket}{environ[name]}" for name in ("PATH_INFO", "RAW_URI", "REQUEST_URI")}
    return {**environ, **paths, "HTTP_HOST": host}


def _client_service(service: str, environ: dict[str, Any]) -> str:
    """The service that a request is for: two clients sign for `sagemaker`, with different protocols."""
    return EDGE if service == "sagemaker" and environ["PATH_INFO"] in EDGE_PATHS else service


def _health() -> Answer:
    """The health check, for clients that wait for the start; the only request that needs no signature."""
    services = sorted([*moto_backend.SERVICES, *OURS.values(), IOT_DATA, TAGGING])
    return Answer.json(200, {"services": dict.fromkeys(services, "running")})


def _not_served(service: str, headers: Message) -> Answer:
    """An error in the protocol of the service, so that its SDK client can read it."""
    served = ", ".join(sorted([*moto_backend.SERVICES, *OURS, "iotdata", "tagging"]))
    text = f"the embedded AWS does not have the service '{service}'; it has {served}"
    if service == "ec2":  # S3 has its own form of errors
        error = f"<Code>UnknownService</Code><Message>{text}</Message>"
        form = f"<Response><Errors><Error>{error}</Error></Errors></Response>"
        return Answer(501, {"Content-Type": "text/xml"}, form.encode())
    protocol = "query" if refusals.content_type(headers) == refusals.FORM else "json"
    return refusals.refusal(protocol, 501, "UnknownService", text)


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
