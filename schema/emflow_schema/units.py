"""Quantities with their unit: durations such as `250ms`, `1s`, `15m`, `1h`, and numbers of frames."""

from __future__ import annotations

import re

DURATION = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"
"""The same pattern as in the schema."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """How many seconds a duration is.

    Raises:
        ValueError: it is no number with one of the units ms, s, m, h, d.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", text)
    if not match:
        raise ValueError(f"{text!r} is no duration")
    return float(match[1]) * _SECONDS[match[2]]


def frames(text: str) -> int | None:
    """How many frames `5 frames` are; None where the text is no number of frames."""
    match = re.fullmatch(r"([1-9][0-9]{0,8}) frames?", text)
    return int(match[1]) if match else None
