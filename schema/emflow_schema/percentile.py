"""Percentiles, by the nearest rank: one of the values themselves, of which so many are not above it."""

from __future__ import annotations

import math
from collections.abc import Sequence


def nearest_rank(count: int, share: float) -> int:
    """Which of `count` sorted values it is, from 1; `share` is 0.5 for the median, 0.99 for p99."""
    return max(1, math.ceil(share * count))


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """One of sorted values; None where there is none."""
    return ordered[nearest_rank(len(ordered), share) - 1] if ordered else None
