"""The log: text, or one JSON object a line, and never a password out of a URL."""

from __future__ import annotations

import json
import logging
import re
import sys
from concurrent.futures import InvalidStateError
from datetime import datetime, timezone
from typing import Any, TextIO

from emflow_schema.stream_url import redacted

ROOT = "emflow_edge"
# Up to the blank: people write passwords with `/`, `?`, `#` and quotes in them, and `redacted` knows what to keep.
_WITH_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*@\S*")
# What every record has; the rest came by `extra`, as the name of a stream does.
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "level", "taskName"}


def configure_logging(stream: TextIO, form: str = "text", level: str = "info") -> None:
    """Log to a stream from now on, in place of where it went before.

    Args:
        form: `text` or `json`.
        level: `debug`, `info` or `warning`, for what is ours. Libraries say what goes wrong, not what they do:
            awsiotsdk would tell every connection.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(level.upper())


def report_exit(text: str) -> None:
    """Say on standard error why the run ends: in the log's own form when that is JSON, as a sentence otherwise."""
    text = redact_urls(text)
    if any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers):
        logging.getLogger(ROOT).error("%s", text)
    else:
        sys.stderr.write(f"emflow-edge: {text}\n")


def _is_news(record: logging.LogRecord) -> bool:
    """Not that an answer failed that has failed already: awsiotsdk tells that, with a traceback, of each request that
    was under way when the nucleus hung up."""
    error = record.exc_info[1] if record.exc_info else None
    return not (record.name == "concurrent.futures" and isinstance(error, InvalidStateError))


def redact_urls(text: str) -> str:
    """A text whose URLs show neither user nor password."""
    return _WITH_PASSWORD.sub(lambda found: redacted(found.group()), text) if "@" in text else text


class TextFormatter(logging.Formatter):
    """`2026-01-02 03:04:05,678 [INFO] message`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s [%(level)s] %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.level = "WARN" if record.levelno == logging.WARNING else record.levelname
        return redact_urls(super().format(record))


class JsonFormatter(logging.Formatter):
    """One object: time (UTC), level, logger, message, and what was given as `extra`, such as stream."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact_urls(record.getMessage()),
        }
        told.update((key, value) for key, value in vars(record).items() if key not in _OF_EVERY_RECORD)
        if record.exc_info:
            told["exception"] = redact_urls(self.formatException(record.exc_info))
        return json.dumps(told, ensure_ascii=False, default=str)
