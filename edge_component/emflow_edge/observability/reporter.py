"""Reports metrics periodically, in the log and as a message, and publishes the status when it changes."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Callable

from emflow_edge.observability.exposition import MetricsExporter, json_for_readers
from emflow_edge.observability.status import Status
from emflow_edge.timestamps import utc_now
from emflow_schema import edge_config
from emflow_schema.errors import ConfigProblem

if TYPE_CHECKING:
    from emflow_edge.observability.http import MetricsServer, PictureProvider

log = logging.getLogger(__name__)

Announce = Callable[[str, str, bool], object]
"""Publishes a message: topic, payload, retain; never blocks."""


class Reporter:
    """Reports metrics and status as the settings say, and runs the HTTP server.

    Args:
        announce: publishes a message.
        picture: returns the newest annotated frame of a stream as JPEG.
        on_first_result: called once.
    """

    def __init__(
        self,
        metrics: MetricsExporter,
        status: Status,
        announce: Announce,
        picture: PictureProvider,
        on_first_result: Callable[[], object],
    ) -> None:
        self._metrics, self._status = metrics, status
        self._announce, self._picture, self._on_first_result = announce, picture, on_first_result
        self._changed = threading.Condition()
        self._reporting, self._publish = edge_config.Metrics(), edge_config.Publish()
        self._server: MetricsServer | None = None
        self._closed = self._status_changed = self._first = False
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def open_server(self, reporting: edge_config.Metrics) -> MetricsServer | None:
        """The HTTP server for these settings, for `configure`: the one that runs, or a new one beside it.

        Raises:
            ConfigProblem: the port cannot be opened.
        """
        if not reporting.port or (self._server is not None and reporting.port == self._server.port):
            return self._server if reporting.port else None
        # Only now: an HTTP server takes time and memory that most runs need not spend.
        from emflow_edge.observability.http import HOST, MetricsServer

        try:
            return MetricsServer(reporting.port, self._metrics, self._picture)
        except OSError as error:
            raise ConfigProblem(
                f"metrics.port: {HOST}:{reporting.port} cannot be listened on: {error.strerror}"
            ) from error

    def close_unused(self, server: MetricsServer | None) -> None:
        """Close what `open_server` returned, where it is not used after all."""
        if server is not None and server is not self._server:
            server.close()

    def configure(
        self, reporting: edge_config.Metrics, publish: edge_config.Publish, server: MetricsServer | None
    ) -> None:
        """Use these settings from now on, and what `open_server` returned for them."""
        with self._changed:
            self._reporting, self._publish = reporting, publish
            self._status_changed = True
            self._changed.notify()
        before, self._server = self._server, server
        if server is before:
            return
        if before is not None:
            before.close()
        if server is not None:
            log.info("metrics and pictures on %s", server.address)

    def status_changed(self) -> None:
        with self._changed:
            self._status_changed = True
            self._changed.notify()

    def first_result(self) -> None:
        with self._changed:
            self._first = True
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._server is not None:
            self._server.close()

    def _run(self) -> None:
        before = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed or self._status_changed or self._first,
                    max(0.0, before + self._reporting.every.seconds - time.monotonic()),
                )
                if self._closed:
                    return
                changed, first = self._status_changed, self._first
                self._status_changed = self._first = False
                reporting, publish = self._reporting, self._publish
            if first:
                self._on_first_result()
            due = time.monotonic() >= before + reporting.every.seconds
            if due:
                before = time.monotonic()
                log.info("metrics: %s", self._metrics.log_line())
                if publish.metrics_topic:
                    self._announce(publish.metrics_topic, self._metrics.message(), False)
            # With each report too: one that could not be sent is not tried again.
            if (changed or due) and publish.status_topic:
                self._announce(publish.status_topic, self._status_message(), True)

    def _status_message(self) -> str:
        metrics = self._metrics
        status = {"thing": metrics.thing, "version": metrics.version, "time": utc_now(), **self._status.snapshot()}
        return json_for_readers(status, "status")
