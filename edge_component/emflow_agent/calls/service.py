"""The agent service: maps requests to the model store and the capture buffer, and errors to gRPC status codes."""

# ruff: noqa: N802, ARG002  (names and parameters are the interface's)

from __future__ import annotations

import functools
import logging
import time
from dataclasses import replace
from typing import Any, Callable, TypeVar, cast

import grpc

from emflow_agent.calls.refused_calls import RefusedCalls
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
    ModelInUse,
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
from emflow_proto import trust

log = logging.getLogger(__name__)

CODES = {
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyLoaded: grpc.StatusCode.ALREADY_EXISTS,
    ModelInUse: grpc.StatusCode.ALREADY_EXISTS,
    BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    CannotLoad: grpc.StatusCode.FAILED_PRECONDITION,
    NotEnoughMemory: grpc.StatusCode.RESOURCE_EXHAUSTED,
    InferenceFailed: grpc.StatusCode.INTERNAL,
    # Not UNAVAILABLE: to clients that means that the agent is gone.
    TooManyCalls: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CallerGone: grpc.StatusCode.CANCELLED,
    AlreadyCaptured: grpc.StatusCode.ALREADY_EXISTS,
    BufferFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TimestampInFuture: grpc.StatusCode.OUT_OF_RANGE,
    CaptureUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    UnknownCapture: grpc.StatusCode.NOT_FOUND,
}

# A status message is sent as a percent-encoded HTTP/2 header, up to twelve bytes a character; clients accept 8 KiB.
MAX_TEXT_LENGTH = 600

VERSION_KEY = "emflow-model-version"
"""The metadata of LoadModel and Use in which a client may name the version that the signed package has to be of."""

Call = TypeVar("Call", bound=Callable[..., Any])


def with_grpc_status(call: Call, name: str = "") -> Call:
    """Turn exceptions of a call into a gRPC status. Unexpected ones become INTERNAL; the traceback is logged at debug
    level.

    Args:
        call: a method of a class with `refused`.
        name: of the call, for the log; without it, that of the method.
    """
    name = name or call.__name__

    @functools.wraps(call)
    def wrapper(self: Any, request: Any, context: grpc.ServicerContext, *more: Any) -> Any:
        try:
            return call(self, request, context, *more)
        except Refused as refusal:
            code, text = CODES[type(refusal)], fit_into_status(str(refusal))
        except Exception as error:
            code, text = grpc.StatusCode.INTERNAL, fit_into_status(f"{type(error).__name__}: {error}")
            log.debug("%s", name, exc_info=True)
        self.refused.report(name, code, text)
        return context.abort(code, text)

    return cast("Call", wrapper)


class AgentService:
    """The agent service; agent.proto and trust.proto describe the calls and their codes.

    Args:
        captures: without it, CaptureData is refused.
        refused: logs the calls that are refused.
    """

    def __init__(
        self, store: ModelStore, captures: CaptureBuffer | None = None, refused: RefusedCalls | None = None
    ) -> None:
        self._store = store
        self._captures = captures or CaptureBuffer(CaptureSettings())
        self.refused = refused or RefusedCalls()

    @with_grpc_status
    def Predict(self, request: m.PredictRequest, context: grpc.ServicerContext) -> m.PredictResponse:
        model = self._store.get(request.name, request.handle)
        arrays = model.predict(request.tensors, GrpcCaller(context))
        response = m.PredictResponse()
        for known, metadata, array in zip(model.outputs, model.output_metadata, arrays):
            # Some models have an output whose size depends on what they found.
            metadata = metadata if array.shape == known.shape else replace(known, shape=array.shape).metadata
            response.tensors.add(tensor_metadata=metadata, byte_data=array.tobytes())
        return response

    @with_grpc_status
    def LoadModel(self, request: m.LoadModelRequest, context: grpc.ServicerContext) -> m.LoadModelResponse:
        version = wanted_version(context)
        model = self._store.load(request.name, request.url, GrpcCaller(context), request.handle, version)
        log_loaded(model)
        return m.LoadModelResponse(model=model_metadata(model))

    @with_grpc_status
    def UnLoadModel(self, request: m.UnLoadModelRequest, context: grpc.ServicerContext) -> m.UnLoadModelResponse:
        model = self._store.unload(request.name, request.handle)
        log.info("Model:%s unloaded", model.name)
        return m.UnLoadModelResponse()

    @with_grpc_status
    def ListModels(self, request: m.ListModelsRequest, context: grpc.ServicerContext) -> m.ListModelsResponse:
        return m.ListModelsResponse(models=map(model_metadata, self._store.all()))

    @with_grpc_status
    def DescribeModel(self, request: m.DescribeModelRequest, context: grpc.ServicerContext) -> m.DescribeModelResponse:
        model = self._store.get(request.name, request.handle)
        log.info("%s runs on %s; %d calls are waiting", model.name, model.placement, model.queue.waiting)
        return m.DescribeModelResponse(model=model_metadata(model))

    @with_grpc_status
    def CaptureData(self, request: m.CaptureDataRequest, context: grpc.ServicerContext) -> m.CaptureDataResponse:
        model = self._store.get(request.model_name, request.model_handle)
        self._captures.put(read_capture(request, model.name, model.inputs, model.outputs, time.time()))
        return m.CaptureDataResponse()

    @with_grpc_status
    def GetCaptureDataStatus(
        self, request: m.GetCaptureDataStatusRequest, context: grpc.ServicerContext
    ) -> m.GetCaptureDataStatusResponse:
        return m.GetCaptureDataStatusResponse(status=self._captures.status(request.capture_id))

    @with_grpc_status
    def ConfirmModel(self, request: Any, context: grpc.ServicerContext) -> Any:
        return trust.ConfirmModelResponse(floor=self._store.confirm(request.name, request.handle))


def wanted_version(context: grpc.ServicerContext) -> str:
    """The version that a client names in the metadata of a call that loads a model; empty where it names none."""
    return next((str(value) for name, value in context.invocation_metadata() if name == VERSION_KEY), "")


def log_loaded(model: LoadedModel) -> None:
    """Log that a model was loaded, with its tensors."""
    for kind, specs in (("input", model.inputs), ("output", model.outputs)):
        log.info("%s: %s %s", model.name, kind, ", ".join(map(str, specs)))
    # The workshop tells people to look for exactly these words in the log.
    log.info("Model:%s loaded!", model.name)


def fit_into_status(text: str) -> str:
    """A text that fits into a status message: shortened, and valid UTF-8 (a file name need not be)."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_TEXT_LENGTH else text[: MAX_TEXT_LENGTH - 1] + "…"


def model_metadata(model: LoadedModel) -> m.Model:
    """A loaded model as the interface describes it."""
    return m.Model(
        url=model.url,
        name=model.name,
        input_tensor_metadatas=[known.metadata for known in model.inputs],
        output_tensor_metadatas=[known.metadata for known in model.outputs],
        handle=model.handle,
    )
