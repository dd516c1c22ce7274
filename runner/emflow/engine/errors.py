"""What botocore raises, as a `Problem` that names the AWS call and says what to do.

Neither an error answer nor a call that never got one (no credentials, no network) says which service it was for; so
clients write it onto both, by botocore's own events, and this module reads it there.
"""

from __future__ import annotations

from typing import Any

from botocore import exceptions as aws
from botocore.hooks import BaseEventHooks

from emflow.problems import Problem


def name_calls(events: BaseEventHooks) -> None:
    """Have every error from clients of this session name its call, such as `s3:CreateBucket`."""
    events.register("after-call", _name_answer)
    events.register("after-call-error", _name_exception)


def _name_answer(model: Any, parsed: dict[str, Any], **_: Any) -> None:
    call = f"{model.service_model.service_name}:{model.name}"
    parsed.setdefault("ResponseMetadata", {}).update(Call=call)


def _name_exception(event_name: str, exception: Exception, **_: Any) -> None:
    _event, service, operation = event_name.split(".")
    vars(exception)["aws_call"] = f"{service}:{operation}"


def _call(error: Exception) -> str:
    if isinstance(error, aws.ClientError):
        answer: dict[str, Any] = {**error.response.get("ResponseMetadata", {})}
        return str(answer.get("Call") or error.operation_name)
    return str(getattr(error, "aws_call", ""))


def code(error: aws.ClientError) -> str:
    """AWS's error code, such as `ResourceNotFoundException`."""
    found: str = error.response.get("Error", {}).get("Code", "")
    return found


def message(error: aws.ClientError) -> str:
    """AWS's own words."""
    found: str = error.response.get("Error", {}).get("Message", "")
    return found


def status(error: aws.ClientError) -> int:
    """The HTTP status of the answer; 0 where there is none."""
    found: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return found


def missing(error: aws.ClientError) -> bool:
    """Whether AWS says that what was asked for does not exist."""
    if code(error) in {"ResourceNotFoundException", "ResourceNotFound", "NoSuchEntity", "NoSuchKey", "NoSuchBucket"}:
        return True
    # SageMaker answers Describe of what never was with a ValidationException, S3's Head without any code.
    return status(error) == 404 or (code(error) == "ValidationException" and "not exist" in message(error).lower())


def as_problem(error: aws.BotoCoreError | aws.ClientError) -> Problem:
    """The same, for people."""
    where = _call(error)
    if isinstance(error, aws.ClientError):
        return _answered(error, where)
    match error:
        case aws.NoCredentialsError() | aws.PartialCredentialsError() | aws.CredentialRetrievalError():
            what, mend = "no AWS credentials found", _CREDENTIALS
        case aws.ProfileNotFound():
            what, mend = str(error), "Correct aws.profile in the workflow, or see `aws configure list-profiles`."
        case aws.SSOError() | aws.TokenRetrievalError():
            what, mend = f"the AWS sign-in has ended: {error}", "Sign in again: aws sso login."
        case aws.EndpointConnectionError() | aws.ConnectTimeoutError() | aws.ConnectionClosedError():
            what = f"cannot reach {_address(error)}"
            mend = "Check the network and AWS_ENDPOINT_URL; for the embedded AWS, `emflow local` has to be running."
        case aws.ReadTimeoutError():
            what, mend = f"no answer from {_address(error)}", "Run it again: it goes on where it was."
        case aws.ParamValidationError():
            what, mend = str(error).replace("\n", " "), "The workflow gives a value that AWS does not take."
        case _:
            what, mend = str(error), ""
    return Problem(what, where=where, mend=mend)


_CREDENTIALS = (
    "Sign in (aws sso login, aws configure, or AWS_PROFILE); without an account, `emflow up` runs it on this machine."
)


def _answered(error: aws.ClientError, where: str) -> Problem:
    what = f"{message(error) or 'no reason given'} ({code(error)})"
    match code(error):
        case "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "Forbidden" | "403":
            mend = f"Allow {where} to the user or role that runs emflow."
        case "ExpiredToken" | "ExpiredTokenException" | "RequestExpired":
            mend = "The credentials have expired: sign in again (aws sso login) and run it again."
        case "InvalidClientTokenId" | "UnrecognizedClientException" | "SignatureDoesNotMatch" | "InvalidAccessKeyId":
            mend = "AWS does not know these credentials. " + _CREDENTIALS
        case "UnknownOperationException" | "InvalidAction":
            mend = "This endpoint, or this region, does not offer that call; see AWS_ENDPOINT_URL and aws.region."
        case "Throttling" | "ThrottlingException" | "TooManyRequestsException" | "SlowDown":
            mend = "AWS asks to slow down, for longer than we retried. Run it again: it goes on where it was."
        case _:
            mend = ""
    return Problem(what, where=where, mend=mend)


def _address(error: Exception) -> str:
    found: str = getattr(error, "kwargs", {}).get("endpoint_url") or "AWS"
    return found
