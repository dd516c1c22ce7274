"""gRPC glue for the agent's interface, without generated code: the client's stub and the server's handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import grpc

from emflow_proto import handlers, limits
from emflow_proto import messages as m


class AgentStub:
    """The agent, seen from a client: one callable a call, which takes a request and returns a response.

    >>> channel = grpc.insecure_channel("unix:///tmp/aws.greengrass.SageMakerEdgeManager.sock")
    >>> [model.name for model in AgentStub(channel).ListModels(m.ListModelsRequest(), timeout=5).models]
    """

    Predict: grpc.UnaryUnaryMultiCallable[m.PredictRequest, m.PredictResponse]
    LoadModel: grpc.UnaryUnaryMultiCallable[m.LoadModelRequest, m.LoadModelResponse]
    UnLoadModel: grpc.UnaryUnaryMultiCallable[m.UnLoadModelRequest, m.UnLoadModelResponse]
    ListModels: grpc.UnaryUnaryMultiCallable[m.ListModelsRequest, m.ListModelsResponse]
    DescribeModel: grpc.UnaryUnaryMultiCallable[m.DescribeModelRequest, m.DescribeModelResponse]
    CaptureData: grpc.UnaryUnaryMultiCallable[m.CaptureDataRequest, m.CaptureDataResponse]
    GetCaptureDataStatus: grpc.UnaryUnaryMultiCallable[m.GetCaptureDataStatusRequest, m.GetCaptureDataStatusResponse]

    def __init__(self, channel: grpc.Channel) -> None:
        for name, (request, response) in m.CALLS.items():
            call = channel.unary_unary(
                f"/{m.SERVICE}/{name}",
                request_serializer=request.SerializeToString,
                response_deserializer=reader_of(response),
            )
            setattr(self, name, call)


def reader_of(response: Any) -> Callable[[bytes], Any]:
    """Reads a response; None, of which gRPC makes the status INTERNAL, for what is none or has too many parts."""

    def read(content: bytes) -> Any:
        try:
            return limits.parse(response, content)
        except Exception:
            return None  # gRPC would log an exception with its traceback

    return read


class AgentServicer(Protocol):
    """What a server of the interface implements. The names are the wire's."""

    def Predict(self, request: m.PredictRequest, context: grpc.ServicerContext) -> m.PredictResponse: ...  # noqa: N802

    def LoadModel(  # noqa: N802
        self, request: m.LoadModelRequest, context: grpc.ServicerContext
    ) -> m.LoadModelResponse: ...

    def UnLoadModel(  # noqa: N802
        self, request: m.UnLoadModelRequest, context: grpc.ServicerContext
    ) -> m.UnLoadModelResponse: ...

    def ListModels(  # noqa: N802
        self, request: m.ListModelsRequest, context: grpc.ServicerContext
    ) -> m.ListModelsResponse: ...

    def DescribeModel(  # noqa: N802
        self, request: m.DescribeModelRequest, context: grpc.ServicerContext
    ) -> m.DescribeModelResponse: ...

    def CaptureData(  # noqa: N802
        self, request: m.CaptureDataRequest, context: grpc.ServicerContext
    ) -> m.CaptureDataResponse: ...

    def GetCaptureDataStatus(  # noqa: N802
        self, request: m.GetCaptureDataStatusRequest, context: grpc.ServicerContext
    ) -> m.GetCaptureDataStatusResponse: ...


def add_agent_to_server(
    server: grpc.Server, servicer: AgentServicer, on_malformed: handlers.OnMalformed = handlers.ignore
) -> None:
    """Let `servicer` answer the agent's calls on `server`. A request that is no message is INVALID_ARGUMENT."""
    calls = {
        name: handlers.unary_unary(name, getattr(servicer, name), request, response, on_malformed)
        for name, (request, response) in m.CALLS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(m.SERVICE, calls),))
