"""The service by which an application says that a model works, so that older versions are refused from then on."""

from __future__ import annotations

from typing import Any, Protocol

import grpc

from emflow_proto import handlers
from emflow_proto.descriptors import Compiled
from emflow_proto.service import reader_of

COMPILED = Compiled("trust")

SERVICE = f"{COMPILED.package}.ModelTrust"

ConfirmModelRequest: Any = COMPILED.message("ConfirmModelRequest")
ConfirmModelResponse: Any = COMPILED.message("ConfirmModelResponse")


class TrustServicer(Protocol):
    """What a server of the service implements. The name is the wire's."""

    def ConfirmModel(self, request: Any, context: grpc.ServicerContext) -> Any: ...  # noqa: N802


def add_trust_to_server(
    server: grpc.Server, servicer: TrustServicer, on_malformed: handlers.OnMalformed = handlers.ignore
) -> None:
    """Let `servicer` answer the service's call on `server`. What is no message is INVALID_ARGUMENT."""
    types = ConfirmModelRequest, ConfirmModelResponse
    calls = {"ConfirmModel": handlers.unary_unary("ConfirmModel", servicer.ConfirmModel, *types, on_malformed)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, calls),))


def confirm_model(channel: grpc.Channel, name: str, timeout: float = 10.0) -> str:
    """Say that a loaded model works: its deployment has succeeded, results flow.

    Args:
        channel: to the agent. timeout: seconds.

    Returns:
        The lowest version of this model that is loaded from now on; empty for any, and from an agent that has no such
        service, as SageMaker Edge Manager's.

    Raises:
        grpc.RpcError: the agent cannot be reached, or refuses; trust.proto has the codes.
    """
    call = channel.unary_unary(
        f"/{SERVICE}/ConfirmModel",
        request_serializer=ConfirmModelRequest.SerializeToString,
        response_deserializer=reader_of(ConfirmModelResponse),
    )
    try:
        floor: str = call(ConfirmModelRequest(name=name), timeout=timeout).floor
    except grpc.RpcError as refusal:
        if refusal.code() == grpc.StatusCode.UNIMPLEMENTED:
            return ""
        raise
    return floor
