"""Helpers for AWS calls: an answer that may be missing, polling, and a new role that IAM has not published yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from botocore.exceptions import ClientError

from emflow.engine.errors import error_code, error_message, is_missing
from emflow.engine.resource import RunContext

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two polls. A real job takes minutes, one of the embedded AWS less than a second."""

IAM_PATIENCE = 120.0
"""Seconds. IAM is eventually consistent: a new role is known to SageMaker after some seconds, seldom after a minute."""


def poll(run: RunContext, timeout: float) -> Iterator[float]:
    """Yield the seconds so far, with growing pauses, until `timeout` seconds are over."""
    started = time.monotonic()
    pause = FIRST_PAUSE
    while (so_far := time.monotonic() - started) < timeout:
        yield so_far
        run.pause(pause)
        pause = min(pause * 1.4, LONGEST_PAUSE)


def retry_until_assumable(call: Callable[[], T], run: RunContext, patience: float = IAM_PATIENCE) -> T:
    """Make a call that gives a role to SageMaker, and repeat it while SageMaker does not know the role yet.

    Raises:
        ClientError: it is refused for another reason, or for this one after `patience` seconds.
    """
    reported = False
    for _ in poll(run, patience):
        try:
            return call()
        except ClientError as error:
            if error_code(error) != "ValidationException" or "Could not assume role" not in error_message(error):
                raise
            if not reported:
                run.waiting("role not known yet", error_message(error))
                reported = True
    return call()


def none_if_missing(call: Callable[[], T]) -> T | None:
    """The result of a call; None where AWS says that what it is about does not exist."""
    try:
        return call()
    except ClientError as error:
        if is_missing(error):
            return None
        raise
