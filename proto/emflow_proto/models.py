"""The open agent's own service, beside AWS's: which model is loaded, with its true types, and who uses it.

`models.proto` describes the calls. An agent without this service answers them with UNIMPLEMENTED.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grpc

from emflow_proto import handlers
from emflow_proto.descriptors import Compiled
from emflow_proto.service import reader_of

COMPILED = Compiled("models")

SERVICE = f"{COMPILED.package}.Models"

CompareRequest: Any = COMPILED.message("CompareRequest")
CompareResponse: Any = COMPILED.message("CompareResponse")
DescribeRequest: Any = COMPILED.message("DescribeRequest")
DescribeResponse: Any = COMPILED.message("DescribeResponse")
File: Any = COMPILED.message("File")
Model: Any = COMPILED.message("Model")
ReleaseRequest: Any = COMPILED.message("ReleaseRequest")
ReleaseResponse: Any = COMPILED.message("ReleaseResponse")
Tensor: Any = COMPILED.message("Tensor")
UseRequest: Any = COMPILED.message("UseRequest")
UseResponse: Any = COMPILED.message("UseResponse")

_UNARY = {
    "Release": (ReleaseRequest, ReleaseResponse),
    "Describe": (DescribeRequest, DescribeResponse),
    "Compare": (CompareRequest, CompareResponse),
}


class ModelsStub:
    """The service, seen from a client. `Use` returns an iterator, which is also the call: `cancel()` ends the use."""

    Use: Callable[..., Any]
    Release: grpc.UnaryUnaryMultiCallable[Any, Any]
    Describe: grpc.UnaryUnaryMultiCallable[Any, Any]
    Compare: grpc.UnaryUnaryMultiCallable[Any, Any]

    def __init__(self, channel: grpc.Channel) -> None:
        self.Use = channel.unary_stream(
            f"/{SERVICE}/Use",
            request_serializer=UseRequest.SerializeToString,
            response_deserializer=reader_of(UseResponse),
        )
        for name, (request, response) in _UNARY.items():
            call = channel.unary_unary(
                f"/{SERVICE}/{name}",
                request_serializer=request.SerializeToString,
                response_deserializer=reader_of(response),
            )
            setattr(self, name, call)


class ModelsServicer(Protocol):
    """What a server of the service implements. The names are the wire's."""

    def Use(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]: ...  # noqa: N802

    def Release(self, request: Any, context: grpc.ServicerContext) -> Any: ...  # noqa: N802

    def Describe(self, request: Any, context: grpc.ServicerContext) -> Any: ...  # noqa: N802

    def Compare(self, request: Any, context: grpc.ServicerContext) -> Any: ...  # noqa: N802


def add_models_to_server(
    server: grpc.Server, servicer: ModelsServicer, on_malformed: handlers.OnMalformed = handlers.ignore
) -> None:
    """Let `servicer` answer the service's calls on `server`. What is no message is INVALID_ARGUMENT."""
    calls = {
        name: handlers.unary_unary(name, getattr(servicer, name), request, response, on_malformed)
        for name, (request, response) in _UNARY.items()
    }
    calls["Use"] = handlers.unary_stream("Use", servicer.Use, UseRequest, UseResponse, on_malformed)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, calls),))
