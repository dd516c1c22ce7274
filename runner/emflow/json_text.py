"""JSON as RFC 8259 has it, for all that emflow writes and reads.

Python's own module writes `NaN` and `Infinity`, which AWS, a device or another program cannot read. It also reads them,
and raises RecursionError where a text is nested deeply.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

MOST_DIGITS = 300

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""As Python has the bytes of a file name that is not UTF-8; as characters they cannot be written."""


def to_json(
    value: Any,
    *,
    indent: int | None = None,
    ascii_only: bool = True,
    sort_keys: bool = False,
    separators: tuple[str, str] | None = None,
    default: Callable[[Any], Any] | None = None,
) -> str:
    """A value as JSON text that can be written as UTF-8.

    Args:
        indent: spaces for each level; None for one line.
        ascii_only: escape all other characters; without it, only what UTF-8 cannot write.
        separators: those between items, and between a key and its value.
        default: makes JSON's types of what is none of them.

    Raises:
        ValueError: there is a number in it that JSON does not have (NaN, infinity), or it contains itself.
        TypeError: there is something in it that is no JSON, and no `default`.
    """
    text = json.dumps(
        value,
        indent=indent,
        ensure_ascii=ascii_only,
        sort_keys=sort_keys,
        separators=separators,
        default=default,
        allow_nan=False,
    )
    return text if ascii_only else _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def from_json(text: str | bytes, *, any_number: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        any_number: also NaN and infinity, for a caller that reports them with their positions.

    Raises:
        ValueError: it is not JSON, not UTF-8, or nested too deeply; without `any_number`, also where a number is not
            finite.
    """
    try:
        if any_number:
            return json.loads(text)
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:  # more than a float can have, so that arithmetic with it fails later
        raise ValueError(f"a number of {len(text)} digits is too large")
    return int(text)
