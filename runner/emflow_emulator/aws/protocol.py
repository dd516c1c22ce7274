"""Turns an HTTP request into a call of a service's operation, and its result into a response, by botocore's model.

Routing, parsing and serialising are moto's (its core uses the same models, for every AWS protocol). The checks of
`validation` are made between parsing and the handler.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from botocore.utils import parse_timestamp

from emflow.json_text import from_json, to_json
from emflow_emulator.aws.errors import ApiError, invalid
from emflow_emulator.aws.validation import describe, violations

if TYPE_CHECKING:
    from moto.core.model import OperationModel
    from moto.core.routing import ServiceOperationRouter

Params = dict[str, Any]
Handler = Callable[[Params], Mapping[str, Any] | None]
"""An operation: takes the parameters and returns the answer, both with the names of the model.

Blobs are bytes, timestamps are datetimes with a time zone. Raises ApiError to refuse the request.
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """An HTTP response: status, headers, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def json(cls, status: int, document: Any) -> Answer:
        return cls(status, {"Content-Type": "application/json"}, to_json(document).encode())

    @classmethod
    def refusal(cls, status: int, code: str, message: str) -> Answer:
        """An error for requests that no service model describes, in a shape that JSON clients understand."""
        body = to_json({"__type": code, "message": message}).encode()
        return cls(status, {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": code}, body)


def answer(service: str, environ: Mapping[str, Any], handlers: Mapping[str, Handler]) -> Answer:
    """Find the operation of a WSGI request, check its parameters, call its handler and serialise the result.

    Args:
        service: botocore's name of the service, such as `greengrassv2`.
        environ: the WSGI environment; its input is read.
        handlers: operation name → handler. For other operations of the model, the error names the operation.
    """
    from moto.core.request import Request
    from moto.core.serialize import SerializationContext, get_serializer_class
    from werkzeug.exceptions import NotFound

    request = Request(dict(environ))
    try:
        operation, uri = _router(service).match(request)
    except NotImplementedError:
        text = f"{service} does not take Content-Type {request.content_type}"
        return Answer.refusal(400, "SerializationException", text)
    except NotFound:
        target = environ.get("HTTP_X_AMZ_TARGET") or f"{request.method} {request.path}"
        return Answer.refusal(404, "UnknownOperationException", f"{service} has no operation {target}")
    handler = handlers.get(operation.name)
    if handler is None:
        text = f"the embedded AWS does not have {operation.name} of {service}; it has {', '.join(sorted(handlers))}"
        return Answer.refusal(501, "UnknownOperationException", text)

    request_id = str(uuid4())
    serializer_class = get_serializer_class(service, operation.service_model.resolved_protocol)
    serializer = serializer_class(operation, context=SerializationContext(request_id))
    try:
        result: Any = handler(_parse(operation, request, uri)) or {}
    except ApiError as error:
        log.info("%s: %s: %s", operation.name, error.code, error)
        if error.code == "SerializationException":  # every service has this error, but it is in no model
            return Answer.refusal(400, error.code, error.message)
        result = error
    response = serializer.serialize(result)
    body = response["body"]
    return Answer(
        response["status_code"],
        {**response["headers"], "x-amzn-RequestId": request_id},
        body.encode() if isinstance(body, str) else body,
    )


def _parse(operation: OperationModel, request: Any, uri: dict[str, Any]) -> Params:
    from moto.core.parse import PROTOCOL_PARSERS

    if operation.input_shape is None:
        return {}
    body = request.get_data()
    if "payload" not in operation.input_shape.serialization:  # else the body is a value of its own, such as a message
        _check_document(body)
    parser = PROTOCOL_PARSERS[operation.service_model.resolved_protocol](operation, timestamp_parser=parse_timestamp)
    try:
        params: Params = parser.parse(
            {
                "body": body,
                "headers": request.headers,
                "method": request.method,
                "url_params": uri,
                "url_path": request.path,
                "values": request.args,
            }
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ApiError("SerializationException", f"the request does not fit {operation.name}: {error}") from error
    params = {name: value for name, value in params.items() if value is not None}
    broken = list(violations(params, operation.input_shape))
    if broken:
        raise invalid(describe(broken), *((each.path, each.rule) for each in broken))
    return params


def _check_document(body: bytes) -> None:
    """Raises ApiError for a body that is not a JSON object; an empty one is one."""
    try:
        document = from_json(body or b"{}")
    except ValueError as error:
        raise ApiError("SerializationException", f"the request is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ApiError("SerializationException", "the request is not a JSON object")


@cache
def _router(service: str) -> ServiceOperationRouter:
    """The router of a service, made at its first call, because reading a large model takes a tenth of a second."""
    from moto.core.routing import get_service_router

    return get_service_router(service)
