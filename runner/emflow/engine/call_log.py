"""A line of the log for each request to AWS: call, HTTP status, duration, attempt and request id; never what is in it.

botocore's own debug log has headers with credentials, and whole bodies; so it is not used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from botocore.hooks import BaseEventHooks

log = logging.getLogger("emflow.aws")

_KEY = "emflow_call_log"
"""Of a request's context, which botocore keeps from one attempt of a call to the next."""

_REQUEST_IDS = ("x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id")


def log_calls(events: BaseEventHooks) -> None:
    """Log every request of the session's clients that are made from now on; nothing where the log is off."""
    if log.isEnabledFor(logging.DEBUG):
        events.register("request-created", _started)
        events.register("response-received", _ended)


def _started(request: Any, **_: Any) -> None:
    attempt = request.context.get(_KEY, (0, 0.0))[0]
    request.context[_KEY] = (attempt + 1, time.perf_counter())


def _ended(
    event_name: str,
    context: Mapping[str, Any],
    response_dict: Mapping[str, Any] | None,
    parsed_response: Mapping[str, Any] | None,
    exception: Exception | None,
    **_: Any,
) -> None:
    _event, service, operation = event_name.split(".")
    attempt, started = context.get(_KEY, (1, time.perf_counter()))
    took = (time.perf_counter() - started) * 1000
    if response_dict is None:
        reason = type(exception).__name__
        log.debug("%s %s: no answer (%s) after %.0f ms, attempt %d", service, operation, reason, took, attempt)
        return
    headers = {name.lower(): value for name, value in response_dict["headers"].items()}
    request_id = next((headers[name] for name in _REQUEST_IDS if name in headers), "none")
    error = (parsed_response or {}).get("Error", {}).get("Code", "")
    status = f"{response_dict['status_code']} {error}".rstrip()
    log.debug("%s %s: %s in %.0f ms, attempt %d, request id %s", service, operation, status, took, attempt, request_id)
