"""Platforms: which devices a manifest is for."""

from __future__ import annotations

import re
from collections.abc import Mapping

ALL = ("*", "all")


def fits(wanted: Mapping[str, str], device: Mapping[str, str], *, unknown: bool = False) -> bool:
    """Whether a manifest's Platform matches a device: `*` matches every value, `/a|b/` is a regular expression.

    Args:
        unknown: whether an attribute that `device` does not have matches, as it does while the device is not known. On
            a device it matches `*` only.
    """
    for key, want in wanted.items():
        have = device.get(key.lower())
        if want in ALL or have == "*":
            continue
        if have is None:
            if not unknown:
                return False
        elif not re.fullmatch(want[1:-1] if is_pattern(want) else re.escape(want), have):
            return False
    return True


def is_pattern(value: str) -> bool:
    """Whether a value of Platform is a regular expression."""
    return len(value) > 1 and value[0] == value[-1] == "/"
