"""The agent's own service, beside AWS's: which models are loaded, with their true types, and who uses them.

`models.proto` describes the calls.
"""

# ruff: noqa: N802  (names are the interface's)

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc

from emflow_agent.calls.refused_calls import RefusedCalls
from emflow_agent.calls.service import log_loaded, wanted_version, with_grpc_status
from emflow_agent.errors import ModelNotFound, TooManyCalls
from emflow_agent.models.caller import GrpcCaller
from emflow_agent.models.store import LoadedModel, ModelStore, ModelUse
from emflow_agent.tensors.spec import TensorSpec
from emflow_proto import models

log = logging.getLogger(__name__)

MAX_USES = 128
"""Each call of Use keeps one worker thread of the server."""


class ModelsService:
    """Uses of models, and what is loaded.

    Args:
        refused: logs the calls that are refused.
    """

    def __init__(self, store: ModelStore, refused: RefusedCalls | None = None) -> None:
        self._store = store
        self.refused = refused or RefusedCalls()
        self._changed = threading.Condition()
        self._stopping = False
        self._calls = threading.BoundedSemaphore(MAX_USES)

    def stop(self) -> None:
        """End all calls of Use: the agent ends."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def Use(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        ended = threading.Event()
        use = self._begin_use(request, context, ended)
        try:
            # False: the client left while the model was loaded.
            if context.add_callback(self._wake):
                yield models.UseResponse(use=use.number, model=model_message(use.model), loaded=use.is_first)
                with self._changed:
                    self._changed.wait_for(lambda: ended.is_set() or self._stopping or not context.is_active())
        finally:
            self._end_use(use)
        if context.is_active():
            code = grpc.StatusCode.UNAVAILABLE if self._stopping else grpc.StatusCode.NOT_FOUND
            context.abort(code, "the agent ends" if self._stopping else "the use was released, or the model unloaded")

    @with_grpc_status
    def Release(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002
        unloaded = self._store.release(request.use)
        _log_unloaded(unloaded)
        return models.ReleaseResponse(unloaded=unloaded is not None)

    @with_grpc_status
    def Describe(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002
        return models.DescribeResponse(model=model_message(self._store.get(request.name, request.handle)))

    @with_grpc_status
    def Compare(self, request: Any, context: grpc.ServicerContext) -> Any:
        model = self._store.get("", request.handle)
        return models.CompareResponse(same=self._store.is_content_of(model, request.url, GrpcCaller(context)))

    def _begin_use(self, request: Any, context: grpc.ServicerContext, ended: threading.Event) -> ModelUse:
        def end() -> None:
            ended.set()
            self._wake()

        if not self._calls.acquire(blocking=False):
            raise TooManyCalls(f"there are {MAX_USES} uses of models already")
        try:
            use = self._store.use(request.name, request.url, end, GrpcCaller(context), wanted_version(context))
        except BaseException:
            self._calls.release()
            raise
        if use.is_first:
            log_loaded(use.model)
        return use

    _begin_use = with_grpc_status(_begin_use, "Use")

    def _end_use(self, use: ModelUse) -> None:
        self._calls.release()
        with contextlib.suppress(ModelNotFound):  # it was released, or the model unloaded
            _log_unloaded(self._store.release(use.number))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _log_unloaded(model: LoadedModel | None) -> None:
    if model is not None:
        log.info("Model:%s unloaded", model.name)


def model_message(model: LoadedModel) -> Any:
    """A loaded model as the service describes it."""
    manifest = model.content.manifest
    return models.Model(
        name=model.name,
        url=model.url,
        handle=model.handle,
        files=[models.File(name=name, sha256=digest) for name, digest in sorted(model.content.files.items())],
        package_name=manifest.name if manifest else "",
        package_version=manifest.version if manifest else "",
        inputs=_tensors(model.inputs),
        outputs=_tensors(model.outputs),
        uses=model.uses,
        loaded_by_load_model=model.by_load_model,
    )


def _tensors(specs: Sequence[TensorSpec]) -> list[Any]:
    return [
        models.Tensor(
            name=spec.name, type=spec.dtype.name, shape=spec.shape, scale=spec.scale, zero_point=spec.zero_point
        )
        for spec in specs
    ]
