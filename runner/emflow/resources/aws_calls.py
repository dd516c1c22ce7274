"""Waiting for AWS: polls that begin quick and become slow, and a role that IAM has not made known yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from botocore.exceptions import ClientError

from emflow.engine.errors import error_code, error_message, is_missing
from emflow.engine.resource import RunContext

T = TypeVar("T")

FIRST, SLOWEST = 0.1, 5.0
"""Seconds between two looks: at first, and at most. A real job takes minutes, an embedded one less than a second."""

IAM_PATIENCE = 120.0
"""Seconds. IAM is eventually consistent: a new role is known to SageMaker after some seconds, seldom after a minute."""


def poll(run: RunContext, timeout: float) -> Iterator[float]:
    """A round for each look, with pauses between them, until `timeout` seconds are over; gives the seconds so far."""
    started = time.monotonic()
    pause = FIRST
    while (so_far := time.monotonic() - started) < timeout:
        yield so_far
        run.pause(pause)
        pause = min(pause * 1.4, SLOWEST)


def retry_until_assumable(call: Callable[[], T], run: RunContext, patience: float = IAM_PATIENCE) -> T:
    """Make a call that hands a role to SageMaker, again as long as SageMaker does not know the role yet.

    Raises:
        ClientError: it is refused for another reason, or for this one after `patience` seconds.
    """
    told = False
    for _ in poll(run, patience):
        try:
            return call()
        except ClientError as error:
            if error_code(error) != "ValidationException" or "Could not assume role" not in error_message(error):
                raise
            if not told:
                run.waiting("role not known yet", error_message(error))
                told = True
    return call()


# Reading AWS's answers where "there is none" is an answer too.


def none_if_missing(call: Callable[[], T]) -> T | None:
    """What a call gives; None where AWS says that what it is about does not exist."""
    try:
        return call()
    except ClientError as error:
        if is_missing(error):
            return None
        raise
