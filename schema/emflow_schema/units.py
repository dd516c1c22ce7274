"""Quantities as people write them, with their unit: `250ms`, `1.5 h`, `5 frames`.

Each type is the text itself, so it goes into files and messages as it was written, and knows what the text means.
Nothing is checked when one is made: a workflow with mistakes is a workflow too, and each of them gets a message.
"""

from __future__ import annotations

import re

from emflow_schema import values

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

YEAR = 366 * 86400.0
"""The longest that anything waits, in seconds."""


class Duration(str):
    """A duration such as `250ms`, `15m` or `30d`."""

    PATTERN = r"[0-9]+(\.[0-9]+)?(ms|s|m|h|d)"
    __slots__ = ()

    @property
    def seconds(self) -> float:
        """How long it is.

        Raises:
            ValueError: the text is no duration.
        """
        return seconds(self)


class DeviceDuration(Duration):
    """A duration as the device reads it: no days, a blank before the unit if one likes, and `0` needs no unit."""

    PATTERN = r"0(\.0)?|[0-9]+(\.[0-9]+)?\s*(ms|s|m|h)"
    __slots__ = ()

    @property
    def seconds(self) -> float:
        return _read(self, self.PATTERN)


class Interval(str):
    """How often: a duration as the device reads it, or every so many frames, as in `5 frames`."""

    PATTERN = rf"{DeviceDuration.PATTERN}|(?!0+\s*f)[0-9]{{1,9}}\s*frames?"
    __slots__ = ()

    @property
    def frames(self) -> int:
        """Every how many frames; 0 where it is a duration."""
        return frames(self) or 0

    @property
    def seconds(self) -> float:
        """The duration; 0 where it is a number of frames, or as often as can be.

        Raises:
            ValueError: the text is neither.
        """
        return 0.0 if self.frames else _read(self, DeviceDuration.PATTERN)


class ByteSize(str):
    """A number of bytes with a unit, such as `512 MiB` or `1.5 GB`."""

    PATTERN = r"[0-9]+(\.[0-9]+)? ?([kKMGT]i?)?B"
    __slots__ = ()

    @property
    def bytes(self) -> int:
        """How many bytes it is; a device also reads one without a unit, or with one in small letters.

        Raises:
            ValueError: the text is no size, or more than any device has.
        """
        return values.size(self)


def seconds(text: str) -> float:
    """How many seconds a duration is.

    Raises:
        ValueError: it is no number with one of the units ms, s, m, h, d.
    """
    return _read(text, Duration.PATTERN)


def frames(text: str) -> int | None:
    """How many frames `5 frames` are; None where the text is no number of frames."""
    match = re.fullmatch(r"([0-9]{1,9})\s*frames?", text)
    return (int(match[1]) or None) if match else None


def _read(text: str, pattern: str) -> float:
    if not re.fullmatch(pattern, text):
        raise ValueError(f"{str(text)!r} is no duration")
    number = re.match(r"[0-9.]+", text)
    unit = text[number.end() :].strip() if number else ""
    return float(number[0]) * _SECONDS[unit or "s"] if number else 0.0
