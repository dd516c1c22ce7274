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

    def configure(self, reporting: edge_config.Metrics, publish: edge_config.Publish) -> None:
        """Use these settings from now on. A port that cannot be opened is logged, and stops nothing."""
        with self._changed:
            other = reporting.port != self._reporting.port
            self._reporting, self._publish = reporting, publish
            self._status_changed = True
            self._changed.notify()
        if other and self._server is not None:
            self._server.close()
            self._server = None
        if other and reporting.port:
            # Only now: an HTTP server takes time and memory that most runs need not spend.
            from emflow_edge.observability.http import HOST, MetricsServer

            try:
                self._server = MetricsServer(reporting.port, self._metrics, self._picture)
            except OSError as error:
                log.error("metrics.port: %s:%d cannot be listened on: %s", HOST, reporting.port, error.strerror)
                return
            log.info("metrics and pictures on http://%s:%d", HOST, reporting.port)

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
