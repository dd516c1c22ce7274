"""The agent's calls: requests into what the store does, refusals into status codes."""

# ruff: noqa: N802, ARG002  (names and parameters are the interface's)

from __future__ import annotations

import functools
import logging
from typing import Any, Callable, TypeVar, cast

import grpc

from emflow_agent.problems import (
    AlreadyLoaded,
    BadRequest,
    CannotLoad,
    CannotRun,
    NoSuchModel,
    NotEnoughMemory,
    Refused,
)
from emflow_agent.store import LoadedModel, ModelStore
from emflow_proto import messages as m

log = logging.getLogger(__name__)

CODES = {
    NoSuchModel: grpc.StatusCode.NOT_FOUND,
    AlreadyLoaded: grpc.StatusCode.ALREADY_EXISTS,
    BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    CannotLoad: grpc.StatusCode.FAILED_PRECONDITION,
    NotEnoughMemory: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CannotRun: grpc.StatusCode.INTERNAL,
}

# A refusal travels as an HTTP/2 header, percent-encoded, up to twelve bytes a character; clients take 8 KiB of headers.
LONGEST_TEXT = 600

NO_CAPTURE = "this agent does not store captured data; predictions go on without it"

Call = TypeVar("Call", bound=Callable[..., Any])


def answered(call: Call) -> Call:
    """Turn what a call raises into a status; what nobody expected is INTERNAL, and its traceback a debug line."""

    @functools.wraps(call)
    def wrapper(self: AgentService, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return call(self, request, context)
        except Refused as refusal:
            code, text = CODES[type(refusal)], sendable(str(refusal))
        except Exception as error:
            code, text = grpc.StatusCode.INTERNAL, sendable(f"{type(error).__name__}: {error}")
            log.debug("%s", call.__name__, exc_info=True)
        # Refused predictions may come many times a second; a log that they fill is of no use, and wears out flash.
        level = logging.DEBUG if call.__name__ == "Predict" and code != grpc.StatusCode.INTERNAL else logging.WARNING
        log.log(level, "%s: %s: %s", call.__name__, code.name, text)
        return context.abort(code, text)

    return cast("Call", wrapper)


class AgentService:
    """The servicer; see agent.proto for the calls and their codes."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    @answered
    def Predict(self, request: m.PredictRequest, context: grpc.ServicerContext) -> m.PredictResponse:
        model = self._store.get(request.name)
        arrays = model.predict(request.tensors)
        response = m.PredictResponse()
        for known, array in zip(model.outputs, arrays):
            response.tensors.add(tensor_metadata=known.metadata, byte_data=array.tobytes())
        return response

    @answered
    def LoadModel(self, request: m.LoadModelRequest, context: grpc.ServicerContext) -> m.LoadModelResponse:
        model = self._store.load(request.name, request.url)
        for kind, specs in (("input", model.inputs), ("output", model.outputs)):
            log.info("%s: %s %s", model.name, kind, ", ".join(map(str, specs)))
        # People are told to look for these very words in the agent's log.
        log.info("Model:%s loaded!", model.name)
        return m.LoadModelResponse(model=described(model))

    @answered
    def UnLoadModel(self, request: m.UnLoadModelRequest, context: grpc.ServicerContext) -> m.UnLoadModelResponse:
        self._store.unload(request.name)
        log.info("Model:%s unloaded", request.name)
        return m.UnLoadModelResponse()

    @answered
    def ListModels(self, request: m.ListModelsRequest, context: grpc.ServicerContext) -> m.ListModelsResponse:
        return m.ListModelsResponse(models=map(described, self._store.all()))

    @answered
    def DescribeModel(self, request: m.DescribeModelRequest, context: grpc.ServicerContext) -> m.DescribeModelResponse:
        return m.DescribeModelResponse(model=described(self._store.get(request.name)))

    def CaptureData(self, request: m.CaptureDataRequest, context: grpc.ServicerContext) -> m.CaptureDataResponse:
        return context.abort(grpc.StatusCode.UNIMPLEMENTED, NO_CAPTURE)

    def GetCaptureDataStatus(
        self, request: m.GetCaptureDataStatusRequest, context: grpc.ServicerContext
    ) -> m.GetCaptureDataStatusResponse:
        return context.abort(grpc.StatusCode.UNIMPLEMENTED, NO_CAPTURE)


def sendable(text: str) -> str:
    """A text as a client can get it: not too long, and UTF-8 (a file's name need not be)."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def described(model: LoadedModel) -> m.Model:
    """A loaded model as the interface tells it."""
    return m.Model(
        url=model.url,
        name=model.name,
        input_tensor_metadatas=[known.metadata for known in model.inputs],
        output_tensor_metadatas=[known.metadata for known in model.outputs],
    )
