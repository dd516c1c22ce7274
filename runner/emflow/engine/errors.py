"""Errors of AWS calls as `Problem`s that name the call and say what to do.

Neither an error answer nor a call that got no answer (no credentials, no network) says which service it was for. So
clients write it into both, with botocore's own events, and this module reads it there.
"""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from botocore import exceptions as aws
from botocore.hooks import BaseEventHooks
from botocore.parsers import ResponseParserError

from emflow.engine.answer_limits import AnswerRefused
from emflow.problems import Problem

AwsError: TypeAlias = aws.BotoCoreError | aws.ClientError | ResponseParserError
SERVER_ERROR = 500
"""The status that botocore itself gives to answers of S3 that it cannot read. Services do not send pages with it."""

MAX_PAGE = 4096
"""Bytes in which a web page is recognised."""

_PAGE = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+)?html", re.IGNORECASE | re.DOTALL
)
_IN_MESSAGE = re.compile(r"<(!doctype\s+)?html", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)

AWS_ERRORS = (aws.BotoCoreError, aws.ClientError, ResponseParserError)
"""All that botocore raises for a call: for an answer that it cannot parse that is no BotoCoreError."""


def name_calls(events: BaseEventHooks) -> None:
    """Have every error from clients of this session name its call, such as `s3:CreateBucket`."""
    events.register("after-call", _name_answer)
    events.register("before-parse", _refuse_web_page)
    events.register("after-call-error", _name_exception)


def _name_answer(model: Any, parsed: dict[str, Any], http_response: Any = None, **_: Any) -> None:
    call = f"{model.service_model.service_name}:{model.name}"
    address = urlsplit(getattr(http_response, "url", None) or "")
    endpoint = f"{address.scheme}://{address.netloc}" if address.netloc else "AWS"
    parsed.setdefault("ResponseMetadata", {}).update(Call=call, Endpoint=endpoint)


class WebPage(aws.BotoCoreError):
    """A web page came in place of an answer, such as that of a proxy, or the sign-in page of a network."""

    fmt = "a web page{title} in place of an answer"


def _refuse_web_page(response_dict: dict[str, Any], **_: Any) -> None:
    """Raise `WebPage`. Some services' parsers take it for an empty answer, and with status 404 for one that says no."""
    body = response_dict.get("body")
    if not isinstance(body, bytes) or response_dict["status_code"] > SERVER_ERROR:
        return  # the body of an object in S3 is no bytes yet
    beginning = body[:MAX_PAGE]
    if not _PAGE.match(beginning):
        return
    title = " ".join(match[1].decode(errors="replace").split()) if (match := _TITLE.search(beginning)) else ""
    raise WebPage(title=f" ({title[:80]})" if title else "")


def _name_exception(event_name: str, exception: Exception, **_: Any) -> None:
    _event, service, operation = event_name.split(".")
    vars(exception)["aws_call"] = f"{service}:{operation}"


def _call(error: Exception) -> str:
    if isinstance(error, aws.ClientError):
        answer: dict[str, Any] = {**error.response.get("ResponseMetadata", {})}
        return str(answer.get("Call") or error.operation_name)
    return str(getattr(error, "aws_call", ""))


def error_code(error: aws.ClientError) -> str:
    """AWS's error code, such as `ResourceNotFoundException`."""
    found: str = error.response.get("Error", {}).get("Code", "")
    return found


def error_message(error: aws.ClientError) -> str:
    """The message of AWS."""
    found: str = error.response.get("Error", {}).get("Message") or ""
    return found


def http_status(error: aws.ClientError) -> int:
    """The HTTP status of the answer; 0 where there is none."""
    found: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return found


def is_missing(error: aws.ClientError) -> bool:
    """Whether AWS says that the requested resource does not exist."""
    if error_code(error) in {
        "ResourceNotFoundException",
        "ResourceNotFound",
        "NoSuchEntity",
        "NoSuchKey",
        "NoSuchBucket",
    }:
        return True
    # S3's Head answers have no code; SageMaker answers with a ValidationException for a missing resource.
    return http_status(error) == 404 or (error_code(error) == "ValidationException" and _says_not_found(error))


LOOKUP_PREFIXES = ("Describe", "List", "Get", "Delete", "Deregister")
"""The names of operations on one thing begin so: only there does "could not find" mean the thing itself."""

NOT_FOUND_PHRASES = (
    "no devicefleet with name",
    "no device with name",
    "could not find",
    "requested resource not found",
)


def _says_not_found(error: aws.ClientError) -> bool:
    words = error_message(error).lower()
    return "not exist" in words or (
        error.operation_name.startswith(LOOKUP_PREFIXES) and any(each in words for each in NOT_FOUND_PHRASES)
    )


def not_an_aws_answer(error: Exception) -> Problem:
    """For an answer that cannot be parsed, or an invalid address."""
    said = "a web page in place of an answer" if _IN_MESSAGE.search(str(error)) else " ".join(str(error).split())[:200]
    what = f"this endpoint does not answer like AWS: {said}"
    return Problem(what, where=_call(error), mend=_SOMETHING_ELSE)


def as_problem(error: AwsError) -> Problem:
    """An error of a call, for people."""
    where = _call(error)
    if isinstance(error, aws.ClientError):
        return _answered(error, where)
    if isinstance(error, ResponseParserError):
        return not_an_aws_answer(error)
    match error:
        case WebPage():
            return not_an_aws_answer(error)
        case AnswerRefused():
            what, mend = str(error), _SOMETHING_ELSE
        case aws.SSLError():
            what = f"the certificate of {_address(error)} is not trusted: {str(error)[:200]}"
            mend = (
                "A proxy, or the sign-in page of this network, may answer with its own certificate: sign in to the "
                "network, or name the proxy's authority in AWS_CA_BUNDLE."
            )
        case aws.ProxyConnectionError():
            what, mend = f"no connection through the proxy: {str(error)[:200]}", _PROXY
        case aws.NoCredentialsError():
            what, mend = "no AWS credentials found", _CREDENTIALS
        case aws.PartialCredentialsError() | aws.CredentialRetrievalError():
            what, mend = f"no usable AWS credentials: {error}", _CREDENTIALS
        case aws.ProfileNotFound():
            what, mend = str(error), "Correct aws.profile in the workflow, or see `aws configure list-profiles`."
        case aws.SSOError() | aws.TokenRetrievalError():
            what, mend = f"the AWS sign-in has ended: {error}", "Sign in again: aws sso login."
        case aws.EndpointConnectionError() | aws.ConnectTimeoutError() | aws.ConnectionClosedError():
            what = f"cannot reach {_address(error)}"
            mend = "Check the network and AWS_ENDPOINT_URL; for the embedded AWS, `emflow local` has to be running."
        case aws.ReadTimeoutError():
            what, mend = f"no answer from {_address(error)}", _RUN_AGAIN
        case aws.ParamValidationError():
            what, mend = str(error).replace("\n", " "), "The workflow has a value that AWS does not accept."
        case _:
            what, mend = str(error), ""
    return Problem(what, where=where, mend=mend)


REFUSED, PROXY_AUTHENTICATION = (400, 403), 407

MAX_CLOCK_DIFFERENCE = 270.0
"""Seconds. AWS refuses above 300; an answer is on its way for some."""

_CLOCK_CODES = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture", "RequestExpired"})
_CLOCK_WORDS = re.compile("signature (expired|not yet current)", re.IGNORECASE)

_RUN_AGAIN = "Run it again: it continues where it stopped."

_PROXY = "Check HTTPS_PROXY, with its user and password, and NO_PROXY."

_SOMETHING_ELSE = (
    "Check AWS_ENDPOINT_URL, and which service uses that address. Without it, a proxy or the sign-in page of this "
    "network answers in place of AWS: check HTTPS_PROXY and NO_PROXY, and sign in to the network."
)

_CREDENTIALS = (
    "Sign in (aws sso login, aws configure, or AWS_PROFILE); without an account, `emflow up` runs it on this machine."
)


def to_problem(error: Problem | AwsError) -> Problem:
    """An error of a call as a problem; a problem as it is."""
    return error if isinstance(error, Problem) else as_problem(error)


def _answered(error: aws.ClientError, where: str) -> Problem:
    what = f"{error_message(error) or 'no reason given'} ({error_code(error)})"
    if http_status(error) >= 500 and error_code(error) in {"", "Unknown", str(http_status(error))}:
        # The answer is not the service's own, but of a load balancer before it: only the status is known.
        about: dict[str, Any] = {**error.response["ResponseMetadata"]}
        return Problem(
            f"HTTP {http_status(error)} from {about.get('Endpoint', 'AWS')}",
            where=where,
            mend=f"The service has been failing for longer than emflow retries. {_RUN_AGAIN}",
        )
    if apart := _clocks_apart(error):
        mend = f"The clock of this machine {apart}: set it (NTP), and run it again."
        return Problem(what, where=where, mend=mend)
    if http_status(error) == PROXY_AUTHENTICATION:
        return Problem("the proxy refuses the call (HTTP 407)", where=where, mend=_PROXY)
    match error_code(error):
        case "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "Forbidden" | "403":
            mend = f"Allow {where} to the user or role that runs emflow."
        case "ExpiredToken" | "ExpiredTokenException":
            mend = "The credentials have expired: sign in again (aws sso login) and run it again."
        case (
            "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "InvalidAccessKeyId"
        ):
            mend = f"AWS does not know these credentials. {_CREDENTIALS} `emflow local` prints those of its own run."
        case "UnknownOperationException" | "InvalidAction":
            mend = "This endpoint or region does not have that call; check AWS_ENDPOINT_URL and aws.region."
        case "Throttling" | "ThrottlingException" | "TooManyRequestsException" | "SlowDown":
            mend = f"AWS has been throttling for longer than emflow retries. {_RUN_AGAIN}"
        case _:
            mend = ""
    return Problem(what, where=where, mend=mend)


def _clocks_apart(error: aws.ClientError) -> str:
    """How the clock here differs from that of AWS, if that is why the call was refused; empty if it is not.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/signing-elements.html: a request has to arrive within five minutes
    of its time stamp; S3 allows fifteen.
    """
    headers: dict[str, str] = {**error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})}
    ahead = 0.0
    with contextlib.suppress(KeyError, ValueError, TypeError):
        ahead = (datetime.now(UTC) - parsedate_to_datetime(headers["date"])).total_seconds()
    refused = http_status(error) in REFUSED and abs(ahead) >= MAX_CLOCK_DIFFERENCE
    if not (refused or error_code(error) in _CLOCK_CODES or _CLOCK_WORDS.search(error_message(error))):
        return ""
    if abs(ahead) < MAX_CLOCK_DIFFERENCE:
        return "and that of AWS differ by more than AWS accepts"
    return f"is {abs(ahead) / 60:,.0f} minutes {'ahead of' if ahead > 0 else 'behind'} that of AWS"


def _address(error: Exception) -> str:
    found: str = getattr(error, "kwargs", {}).get("endpoint_url") or "AWS"
    return found
