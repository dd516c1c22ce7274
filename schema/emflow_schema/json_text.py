"""JSON that every reader takes: what is no finite number in Python is none in JSON (RFC 8259, section 6), though `json`
writes it."""

import json
import math
from collections.abc import Iterator
from typing import Any, Optional


class NonFiniteNumber(ValueError):
    """A value is NaN or infinite; the message names its place."""


def json_text(value: Any, *, indent: Optional[int] = None, ascii_only: bool = False) -> str:
    """JSON text.

    Raises:
        NonFiniteNumber: a number in it is NaN or infinite.
    """
    try:
        return json.dumps(value, ensure_ascii=ascii_only, indent=indent, allow_nan=False)
    except ValueError:
        wrong = next(non_finite(value), None)
        if wrong is None:
            raise
        raise NonFiniteNumber(f"{wrong} is no finite number") from None


def json_text_with_nulls(value: Any) -> tuple[str, tuple[str, ...]]:
    """JSON text in which null stands for what is NaN or infinite, and the places of those, such as `streams[0].age`."""
    wrong = tuple(non_finite(value))
    return json_text(finite(value) if wrong else value), wrong


def non_finite(value: Any, place: str = "") -> Iterator[str]:
    """The places of numbers that are NaN or infinite: keys and indices, joined by dots."""
    if isinstance(value, float):
        if not math.isfinite(value):
            yield place or "the value"
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from non_finite(one, f"{place}.{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        for index, one in enumerate(value):
            yield from non_finite(one, f"{place}[{index}]")


def finite(value: Any) -> Any:
    """The value with None in place of what is NaN or infinite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, (list, tuple)) else value
