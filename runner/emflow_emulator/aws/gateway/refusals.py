"""The answers to refused requests: each AWS protocol has its own error codes and its own form."""

from __future__ import annotations

from email.message import Message
from enum import Enum
from xml.sax.saxutils import escape

from emflow_emulator.aws.protocol import Answer

PROTOCOLS = {
    "emflow": "rest-json",
    "greengrass": "rest-json",
    "iam": "query",
    "iot": "rest-json",
    "iotdata": "rest-json",
    "kms": "json",
    "s3": "rest-xml",
    "sagemaker": "json",
    "secretsmanager": "json",
    "sts": "query",
    "tagging": "json",
}
"""The protocol of each service, by the name in the credential scope of a signature."""

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
_CONTENT_TYPES = {
    "query": ("", FORM),
    "rest-json": ("", JSON, "application/octet-stream"),  # the latter for a body that is a blob
    "json": ("application/x-amz-json-1.0", "application/x-amz-json-1.1"),
}


class Reason(Enum):
    """Why a request is refused: the codes of S3, of the query protocol and of the JSON protocols, and the message."""

    UNSIGNED = (
        ("AccessDenied", "MissingAuthenticationToken", "MissingAuthenticationTokenException"),
        "the request is not signed",
    )
    INCOMPLETE = (
        ("AuthorizationHeaderMalformed", "IncompleteSignature", "IncompleteSignatureException"),
        "the signature is not complete",
    )
    UNKNOWN_KEY = (
        ("InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"),
        "the embedded AWS does not know this access key: each run has its own, which it prints or writes to a file",
    )
    BAD_TOKEN = (
        ("InvalidToken", "InvalidClientTokenId", "UnrecognizedClientException"),
        "the session token is not the one that belongs to this access key",
    )
    EXPIRED_TOKEN = (("ExpiredToken", "ExpiredToken", "ExpiredTokenException"), "the session token has expired")
    SIGNATURE = (
        ("SignatureDoesNotMatch", "SignatureDoesNotMatch", "InvalidSignatureException"),
        "the signature is not what this request and the secret access key give",
    )
    BODY = (
        ("XAmzContentSHA256Mismatch", "SignatureDoesNotMatch", "InvalidSignatureException"),
        "the body is not the one whose hash was signed",
    )
    SKEWED = (
        ("RequestTimeTooSkewed", "SignatureDoesNotMatch", "InvalidSignatureException"),
        "Signature expired, or not yet valid: it is over 15 minutes from the time here",
    )
    EXPIRED_URL = (
        ("AccessDenied", "SignatureDoesNotMatch", "InvalidSignatureException"),
        "Request has expired, or is not yet valid",
    )


class RequestRefused(Exception):
    """A request is refused because of its signature, its time or its headers.

    Args:
        message: the default is the message of the reason.
        service: the service that the signature names; without it, the protocol is guessed from the headers.
    """

    def __init__(self, reason: Reason, message: str = "", service: str = "") -> None:
        super().__init__(message or reason.value[1])
        self.reason = reason
        self.service = service

    def answer(self, headers: Message) -> Answer:
        """The error in the form of the service's protocol."""
        kind = protocol(self.service, headers)
        code = self.reason.value[0][{"rest-xml": 0, "query": 1}.get(kind, 2)]
        return refusal(kind, 400 if self.reason is Reason.INCOMPLETE else 403, code, str(self))


def guessed(headers: Message) -> str:
    """The protocol of a request that names no service, guessed from its headers."""
    kind = content_type(headers)
    if kind == FORM:
        return "query"
    return "json" if "X-Amz-Target" in headers or "json" in kind else "rest-xml"


def protocol(service: str, headers: Message) -> str:
    """The protocol of a service, by the name in the credential scope of a signature, or of `sagemaker-edge`."""
    return "rest-json" if service == "sagemaker-edge" else PROTOCOLS.get(service) or guessed(headers)


def content_type(headers: Message) -> str:
    """The value of the header Content-Type without its parameters."""
    return str(headers.get("Content-Type") or "").partition(";")[0].strip().lower()


def objection_to_content_type(service: str, headers: Message) -> str:
    """Why a service does not accept a request's Content-Type; empty if it does.

    S3 accepts all types. Each other protocol accepts only its own. Of the three types that a web page may send to any
    address, only the query protocol accepts one: forms.
    """
    taken = _CONTENT_TYPES.get(protocol(service, headers)) if service in {*PROTOCOLS, "sagemaker-edge"} else None
    kind = content_type(headers)
    if taken is None or kind in taken:
        return ""
    return f"{service} does not take Content-Type {kind!r}, but {' or '.join(filter(None, taken))}"


def objection_to_encoding(service: str, headers: Message) -> str:
    """Why a service does not accept a request's Content-Encoding; empty if it does.

    S3 stores objects as they come. No operation of the others takes a compressed body, and it would be unpacked in
    memory, to a thousand times its size.
    """
    encoding = str(headers.get("Content-Encoding") or "").strip().lower()
    return (
        ""
        if service == "s3" or encoding in ("", "identity")
        else f"{service} does not take Content-Encoding {encoding!r}"
    )


def refusal(protocol: str, status: int, code: str, message: str) -> Answer:
    """An error in the form of a protocol."""
    error = f"<Code>{code}</Code><Message>{escape(message)}</Message>"
    if protocol == "query":
        text = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error></ErrorResponse>"
        return Answer(status, {"Content-Type": "text/xml"}, text.encode())
    if protocol == "rest-xml":
        return Answer(status, {"Content-Type": "application/xml"}, f"<Error>{error}</Error>".encode())
    return Answer.refusal(status, code, message)
