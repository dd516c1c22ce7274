"""Which service a request is for, and what comes back: the front door's WSGI application.

An SDK says which service it means in the credential scope of its signature, so one address serves them all.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from emflow.local.aws import upstream
from emflow.local.aws.errors import ApiError
from emflow.local.aws.iot_tags import IotTags
from emflow.local.aws.place import REGION, Place
from emflow.local.aws.protocol import Answer
from emflow.local.aws.region import TAGGING, Region
from emflow.local.aws.s3_tags import S3Tags

log = logging.getLogger(__name__)

OURS = {"greengrass": "greengrassv2", "sagemaker": "sagemaker"}
"""Credential scope → botocore's name, for the services that are ours."""

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]*)/(?P<service>[^/]+)/aws4_request")
_REPORT = re.compile(r"/_emflow/cores/(?P<thing>[a-zA-Z0-9:_-]{1,128})")


class Regions:
    """The regions that somebody has called so far, each made at its first call."""

    def __init__(self, make: Callable[[Place], Region]) -> None:
        self._make = make
        self._made: dict[str, Region] = {}
        self._things: dict[str, Region] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str) -> Region:
        with self._lock:
            if name not in self._made:
                self._made[name] = self._make(Place(name))
            return self._made[name]

    def of(self, thing: str) -> Region:
        """The region whose IoT knows a thing: its reports do not say where it is."""
        with self._lock:
            known, made = self._things.get(thing), list(self._made.values())
        # Not under the lock: asking IoT is a request of its own, which comes through here again.
        found = known or next((region for region in made if region.knows(thing)), None)
        if found:
            self._things[thing] = found
        return found or self(REGION)

    def stop(self) -> None:
        for region in self._made.values():
            region.stop()


class Router:
    """The WSGI application of the embedded AWS."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self._upstream = upstream.Upstream()
        self._iot = IotTags(self._upstream.answer)
        self._s3 = S3Tags(self._upstream.answer)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            answer = self._answer(environ)
        except RecursionError:
            answer = Answer.refusal(400, "SerializationException", "the request is nested too deeply")
        except Exception:
            log.exception("%s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            answer = Answer.refusal(500, "InternalFailure", "the embedded AWS failed; its log says how")
        status = f"{answer.status} {_phrase(answer.status)}"
        start_response(status, list(answer.headers.items()))
        return [answer.body]

    def _answer(self, environ: dict[str, Any]) -> Answer:
        if environ["PATH_INFO"].startswith("/_emflow/"):
            return self._own(environ)
        region, service = scope(environ)
        if not service:
            text = "Authorization header requires 'Credential' of the form KEY/DATE/REGION/SERVICE/aws4_request."
            return Answer.refusal(400, "IncompleteSignatureException", text)
        if service == "tagging":
            return self._regions(region).answer_tagging(environ, self._iot.tagged(), self._s3.tagged())
        if service in OURS:
            return self._regions(region).answer(OURS[service], environ)
        if service in upstream.SERVICES:
            if service == "iot":
                self._regions(region)  # so that a thing made before any other call is found when it reports
                return self._iot.answer(environ)
            if service == "s3":
                return self._s3.answer(environ)
            return self._upstream.answer(service, environ)
        return _not_served(service, environ)

    def _own(self, environ: dict[str, Any]) -> Answer:
        """What is not AWS: the health check, and what the nucleus would say over MQTT."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method == "GET" and path == "/_emflow/health":
            return Answer.json(
                200, {"services": dict.fromkeys(sorted([*upstream.SERVICES, *OURS.values(), TAGGING]), "running")}
            )
        report = _REPORT.fullmatch(path)
        if method == "POST" and report:
            try:
                document = json.loads(environ["wsgi.input"].read() or b"null")
                self._regions.of(report["thing"]).report(report["thing"], document)
            except ApiError as error:
                return Answer.refusal(400, error.code, error.message)
            except ValueError as error:
                return Answer.refusal(400, "SerializationException", f"the report is not JSON: {error}")
            return Answer(204, {}, b"")
        return Answer.refusal(404, "UnknownOperationException", f"the embedded AWS has no {method} {path}")


def scope(environ: Mapping[str, Any]) -> tuple[str, str]:
    """The region and the service that a request was signed for; unsigned ones are for S3, as public objects are.

    No service where the signature does not say: moto would guess in its own way, and has services of its own.
    """
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    signed = _SCOPE.search(authorization)
    if not signed and authorization.startswith("AWS4"):
        return REGION, ""
    if not signed:
        credential = parse_qs(environ.get("QUERY_STRING", "")).get("X-Amz-Credential", [""])[0]
        signed = _SCOPE.search(f"Credential={credential}")
    return (signed["region"] or REGION, signed["service"]) if signed else (REGION, "s3")


def _not_served(service: str, environ: Mapping[str, Any]) -> Answer:
    """An error that the SDK can read, whichever protocol the service has."""
    served = ", ".join(sorted([*upstream.SERVICES, *OURS, "tagging"]))
    text = f"the embedded AWS does not have the service '{service}'; it has {served}"
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        error = f"<Code>UnknownService</Code><Message>{text}</Message>"
        # EC2 reads the second form, every other query service the first.
        form = f"<Response><Errors><Error>{error}</Error></Errors></Response>"
        if service != "ec2":
            form = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
        return Answer(501, {"Content-Type": "text/xml"}, form.encode())
    return Answer.refusal(501, "UnknownService", text)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
