"""The standard gRPC health service, for supervisors of the agent."""

# ruff: noqa: N802  (the names are the interface's)

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc

from emflow_proto import health

# Each Watch call keeps one worker thread of the server.
MAX_WATCHERS = 64


class HealthServicer:
    """Reports SERVING for all services until `stop_serving`.

    Args:
        services: full names of the services on this server.
    """

    def __init__(self, services: Sequence[str]) -> None:
        self._services = frozenset(("", *services))
        self._status = health.SERVING
        self._changed = threading.Condition()
        self._watchers = threading.BoundedSemaphore(MAX_WATCHERS)

    def stop_serving(self) -> None:
        """Report NOT_SERVING from now on; open Watch calls get it as their last message."""
        with self._changed:
            self._status = health.NOT_SERVING
            self._changed.notify_all()

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.service not in self._services:
            return context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service[:100]!r}")
        return health.HealthCheckResponse(status=self._status)

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        if not self._watchers.acquire(blocking=False):
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} clients already watch; use Check instead"
            )
        try:
            yield from self._watch(request, context)
        finally:
            self._watchers.release()

    def _watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        if not context.add_callback(self._wake_watchers):
            return
        known = request.service in self._services
        status = self._status if known else health.SERVICE_UNKNOWN
        yield health.HealthCheckResponse(status=status)
        with self._changed:
            self._changed.wait_for(lambda: self._status == health.NOT_SERVING or not context.is_active())
        if known and status != self._status and context.is_active():
            yield health.HealthCheckResponse(status=self._status)

    def _wake_watchers(self) -> None:
        with self._changed:
            self._changed.notify_all()
