"""Errors of AWS calls as `Problem`s that name the call and say what to do.

Neither an error answer nor a call that got no answer (no credentials, no network) says which service it was for. So
clients write it into both, with botocore's own events, and this module reads it there.
"""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import urlsplit

from botocore import exceptions as aws
from botocore.hooks import BaseEventHooks
from botocore.parsers import ResponseParserError

from emflow.problems import Problem

AwsError: TypeAlias = aws.BotoCoreError | aws.ClientError | ResponseParserError
AWS_ERRORS = (aws.BotoCoreError, aws.ClientError, ResponseParserError)
"""All that botocore raises for a call: for an answer that it cannot parse that is no BotoCoreError."""


def name_calls(events: BaseEventHooks) -> None:
    """Have every error from clients of this session name its call, such as `s3:CreateBucket`."""
    events.register("after-call", _name_answer)
    events.register("after-call-error", _name_exception)


def _name_answer(model: Any, parsed: dict[str, Any], http_response: Any = None, **_: Any) -> None:
    call = f"{model.service_model.service_name}:{model.name}"
    address = urlsplit(getattr(http_response, "url", None) or "")
    endpoint = f"{address.scheme}://{address.netloc}" if address.netloc else "AWS"
    parsed.setdefault("ResponseMetadata", {}).update(Call=call, Endpoint=endpoint)


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
    found: str = error.response.get("Error", {}).get("Message", "")
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
    what = f"this endpoint does not answer like AWS: {' '.join(str(error).split())[:200]}"
    return Problem(what, where=_call(error), mend="Check AWS_ENDPOINT_URL, and which service uses that address.")


def as_problem(error: AwsError) -> Problem:
    """An error of a call, for people."""
    where = _call(error)
    if isinstance(error, aws.ClientError):
        return _answered(error, where)
    if isinstance(error, ResponseParserError):
        return not_an_aws_answer(error)
    match error:
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


_RUN_AGAIN = "Run it again: it continues where it stopped."

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
    match error_code(error):
        case "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "Forbidden" | "403":
            mend = f"Allow {where} to the user or role that runs emflow."
        case "ExpiredToken" | "ExpiredTokenException" | "RequestExpired":
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


def _address(error: Exception) -> str:
    found: str = getattr(error, "kwargs", {}).get("endpoint_url") or "AWS"
    return found
