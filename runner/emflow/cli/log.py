"""What emflow logs of its work, and where: `--debug` and the environment variable EMFLOW_LOG.

The loggers are `emflow.aws`, `emflow.lock`, `emflow.rules`, `emflow.templates` and `emflow`. Every line goes through
the redaction. No other library's log is shown: botocore's has request bodies and headers with credentials in it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys

from emflow.problems import UsageProblem, printable

VARIABLE = "EMFLOW_LOG"
"""`LEVEL`, or `LEVEL:FILE`."""

OLD_VARIABLE = "EMFLOW_DEBUG"
"""Set to anything, it is `--debug`."""

LEVELS = ("debug", "info", "warning", "error")

log = logging.getLogger("emflow")


def configure_from_environment() -> None:
    """Log what the environment asks for.

    Raises:
        UsageProblem: `EMFLOW_LOG` has no level that there is, or its file cannot be written.
    """
    if os.environ.get(OLD_VARIABLE):
        log_to_standard_error()
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    level, _, file = wanted.partition(":")
    if level.lower() not in LEVELS:
        mend = f"write one of {', '.join(LEVELS)}, or LEVEL:FILE for a file"
        raise UsageProblem(f"{level!r} is no level", where=VARIABLE, mend=mend)
    _add(_file(file) if file else _StandardError(), level)


def log_to_standard_error(level: str = "debug") -> None:
    """Show the log on standard error, from this level on."""
    _add(_StandardError(), level)


def stop_logging() -> None:
    """Log nothing any more."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.setLevel(logging.NOTSET)
    log.propagate = True


class _StandardError(logging.Handler):
    """What `sys.stderr` is when a line is written: a progress display replaces it, to stay below the lines."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            sys.stderr.write(self.format(record) + "\n")


class _Redacting(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        from emflow.workflow.redaction import redacted

        return printable(redacted(super().format(record)), lines=True)


def _file(path: str) -> logging.Handler:
    try:
        return logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise UsageProblem(
            f"{path}: {error.strerror or error}", where=VARIABLE, mend="Name a file that can be written."
        ) from error


def _add(handler: logging.Handler, level: str) -> None:
    if isinstance(handler, _StandardError):
        for other in [other for other in log.handlers if isinstance(other, _StandardError)]:
            log.removeHandler(other)
    handler.setLevel(level.upper())
    handler.setFormatter(_Redacting())
    log.addHandler(handler)
    log.setLevel(min(other.level for other in log.handlers))
    log.propagate = False
