"""Reading AWS's answers where "there is none" is an answer too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import ClientError

from emflow.engine.errors import missing

T = TypeVar("T")


def unless_missing(call: Callable[[], T]) -> T | None:
    """What a call gives; None where AWS says that what it is about does not exist."""
    try:
        return call()
    except ClientError as error:
        if missing(error):
            return None
        raise
