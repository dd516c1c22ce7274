"""gRPC's health service: its messages, the server's glue, and what asks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import grpc

from emflow_proto import handlers
from emflow_proto.descriptors import Compiled

COMPILED = Compiled("health")

SERVICE = f"{COMPILED.package}.Health"

HealthCheckRequest: Any = COMPILED.message("HealthCheckRequest")
HealthCheckResponse: Any = COMPILED.message("HealthCheckResponse")

_values = COMPILED.enum("HealthCheckResponse.ServingStatus")
SERVING, NOT_SERVING, SERVICE_UNKNOWN = (_values[name] for name in ("SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"))


class HealthServicer(Protocol):
    """What a server of the health service implements. The names are the wire's."""

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any: ...  # noqa: N802

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]: ...  # noqa: N802


def add_health_to_server(
    server: grpc.Server, servicer: HealthServicer, on_malformed: handlers.OnMalformed = handlers.ignore
) -> None:
    """Let `servicer` answer the health service's calls on `server`. What is no message is INVALID_ARGUMENT."""
    types = HealthCheckRequest, HealthCheckResponse
    calls = {
        "Check": handlers.unary_unary("Check", servicer.Check, *types, on_malformed),
        "Watch": handlers.unary_stream("Watch", servicer.Watch, *types, on_malformed),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, calls),))
