"""Logging as text or JSON lines, with credentials removed from URLs."""

from __future__ import annotations

import json
import logging
import re
import sys
from concurrent.futures import InvalidStateError
from datetime import datetime, timezone
from typing import Any, TextIO

from emflow_schema.json_text import finite
from emflow_schema.stream_url import redacted

ROOT = "emflow_edge"
# Up to the next space: passwords may contain `/`, `?`, `#` and quotes; `redacted` decides what is kept.
_WITH_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*@\S*")
# Standard attributes of a record; others come from `extra`, such as the stream.
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "level", "taskName"}


def configure_logging(stream: TextIO, form: str = "text", level: str = "info") -> None:
    """Send the log to this stream from now on.

    Args:
        form: `text` or `json`.
        level: `debug`, `info` or `warning`, for our own loggers. Libraries log warnings only; awsiotsdk would log
            every connection.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(_is_not_redundant)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(level.upper())


def report_exit(text: str) -> None:
    """Report on standard error why the run ends: in the JSON log if that is configured, otherwise as a sentence."""
    text = redact_urls(text)
    if any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers):
        logging.getLogger(ROOT).error("%s", text)
    else:
        sys.stderr.write(f"emflow-edge: {text}\n")


def _is_not_redundant(record: logging.LogRecord) -> bool:
    """Drop tracebacks of awsiotsdk about futures that have failed already; it logs one for each request in progress
    when the connection to the nucleus is lost."""
    error = record.exc_info[1] if record.exc_info else None
    return not (record.name == "concurrent.futures" and isinstance(error, InvalidStateError))


def redact_urls(text: str) -> str:
    """The text without user and password in URLs."""
    return _WITH_PASSWORD.sub(lambda found: redacted(found.group()), text) if "@" in text else text


class TextFormatter(logging.Formatter):
    """`2026-01-02 03:04:05,678 [INFO] message`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s [%(level)s] %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.level = "WARN" if record.levelno == logging.WARNING else record.levelname
        return redact_urls(super().format(record))


class JsonFormatter(logging.Formatter):
    """A JSON object: time (UTC), level, logger, message, and `extra` attributes such as stream."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact_urls(record.getMessage()),
        }
        entry.update((key, value) for key, value in vars(record).items() if key not in _OF_EVERY_RECORD)
        if record.exc_info:
            entry["exception"] = redact_urls(self.formatException(record.exc_info))
        return json.dumps(finite(entry), ensure_ascii=False, default=str, allow_nan=False)
