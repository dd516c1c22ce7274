"""The agent's calls: requests into what the store does, refusals into status codes."""

# ruff: noqa: N802, ARG002  (names and parameters are the interface's)

from __future__ import annotations

import functools
import logging
import time
from dataclasses import replace
from typing import Any, Callable, TypeVar, cast

import grpc

from emflow_agent.capture.buffer import CaptureBuffer
from emflow_agent.capture.requests import read_capture
from emflow_agent.capture.settings import CaptureSettings
from emflow_agent.errors import (
    AlreadyCaptured,
    AlreadyLoaded,
    BadRequest,
    BufferFull,
    CallerGone,
    CannotLoad,
    CaptureUnavailable,
    InferenceFailed,
    ModelNotFound,
    NotEnoughMemory,
    Refused,
    TimestampInFuture,
    TooManyCalls,
    UnknownCapture,
)
from emflow_agent.models.caller import GrpcCaller
from emflow_agent.models.store import LoadedModel, ModelStore
from emflow_proto import messages as m

log = logging.getLogger(__name__)

CODES = {
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyLoaded: grpc.StatusCode.ALREADY_EXISTS,
    BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    CannotLoad: grpc.StatusCode.FAILED_PRECONDITION,
    NotEnoughMemory: grpc.StatusCode.RESOURCE_EXHAUSTED,
    InferenceFailed: grpc.StatusCode.INTERNAL,
    # Not UNAVAILABLE, which tells clients that the agent is gone: it is there, and this call was one too many.
    TooManyCalls: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CallerGone: grpc.StatusCode.CANCELLED,
    AlreadyCaptured: grpc.StatusCode.ALREADY_EXISTS,
    BufferFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TimestampInFuture: grpc.StatusCode.OUT_OF_RANGE,
    CaptureUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    UnknownCapture: grpc.StatusCode.NOT_FOUND,
}

# A refusal travels as an HTTP/2 header, percent-encoded, up to twelve bytes a character; clients take 8 KiB of headers.
MAX_TEXT_LENGTH = 600

# What clients do many times a second. A log that its refusals fill is of no use, and wears out flash.
FREQUENT = frozenset(("Predict", "CaptureData", "GetCaptureDataStatus"))

Call = TypeVar("Call", bound=Callable[..., Any])


def with_grpc_status(call: Call) -> Call:
    """Turn what a call raises into a status; what nobody expected is INTERNAL, and its traceback a debug line."""

    @functools.wraps(call)
    def wrapper(self: AgentService, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return call(self, request, context)
        except Refused as refusal:
            code, text = CODES[type(refusal)], fit_into_status(str(refusal))
        except Exception as error:
            code, text = grpc.StatusCode.INTERNAL, fit_into_status(f"{type(error).__name__}: {error}")
            log.debug("%s", call.__name__, exc_info=True)
        level = logging.DEBUG if call.__name__ in FREQUENT and code != grpc.StatusCode.INTERNAL else logging.WARNING
        log.log(level, "%s: %s: %s", call.__name__, code.name, text)
        return context.abort(code, text)

    return cast("Call", wrapper)


class AgentService:
    """The servicer; see agent.proto for the calls and their codes. Without `capturing`, captured data is refused."""

    def __init__(self, store: ModelStore, capturing: CaptureBuffer | None = None) -> None:
        self._store = store
        self._capturing = capturing or CaptureBuffer(CaptureSettings())

    @with_grpc_status
    def Predict(self, request: m.PredictRequest, context: grpc.ServicerContext) -> m.PredictResponse:
        model = self._store.get(request.name)
        arrays = model.predict(request.tensors, GrpcCaller(context))
        response = m.PredictResponse()
        for known, metadata, array in zip(model.outputs, model.output_metadata, arrays):
            # There are networks with an output as long as what they found.
            told = metadata if array.shape == known.shape else replace(known, shape=array.shape).metadata
            response.tensors.add(tensor_metadata=told, byte_data=array.tobytes())
        return response

    @with_grpc_status
    def LoadModel(self, request: m.LoadModelRequest, context: grpc.ServicerContext) -> m.LoadModelResponse:
        model = self._store.load(request.name, request.url, GrpcCaller(context))
        for kind, specs in (("input", model.inputs), ("output", model.outputs)):
            log.info("%s: %s %s", model.name, kind, ", ".join(map(str, specs)))
        # People are told to look for these very words in the agent's log.
        log.info("Model:%s loaded!", model.name)
        return m.LoadModelResponse(model=model_metadata(model))

    @with_grpc_status
    def UnLoadModel(self, request: m.UnLoadModelRequest, context: grpc.ServicerContext) -> m.UnLoadModelResponse:
        self._store.unload(request.name)
        log.info("Model:%s unloaded", request.name)
        return m.UnLoadModelResponse()

    @with_grpc_status
    def ListModels(self, request: m.ListModelsRequest, context: grpc.ServicerContext) -> m.ListModelsResponse:
        return m.ListModelsResponse(models=map(model_metadata, self._store.all()))

    @with_grpc_status
    def DescribeModel(self, request: m.DescribeModelRequest, context: grpc.ServicerContext) -> m.DescribeModelResponse:
        model = self._store.get(request.name)
        log.info("%s runs on %s; %d calls wait for it", model.name, model.placement, model.queue.waiting)
        return m.DescribeModelResponse(model=model_metadata(model))

    @with_grpc_status
    def CaptureData(self, request: m.CaptureDataRequest, context: grpc.ServicerContext) -> m.CaptureDataResponse:
        model = self._store.get(request.model_name)
        self._capturing.put(read_capture(request, model.inputs, model.outputs, time.time()))
        return m.CaptureDataResponse()

    @with_grpc_status
    def GetCaptureDataStatus(
        self, request: m.GetCaptureDataStatusRequest, context: grpc.ServicerContext
    ) -> m.GetCaptureDataStatusResponse:
        return m.GetCaptureDataStatusResponse(status=self._capturing.status(request.capture_id))


def fit_into_status(text: str) -> str:
    """A text as a client can get it: not too long, and UTF-8 (a file's name need not be)."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_TEXT_LENGTH else text[: MAX_TEXT_LENGTH - 1] + "…"


def model_metadata(model: LoadedModel) -> m.Model:
    """A loaded model as the interface tells it."""
    return m.Model(
        url=model.url,
        name=model.name,
        input_tensor_metadatas=[known.metadata for known in model.inputs],
        output_tensor_metadatas=[known.metadata for known in model.outputs],
    )
