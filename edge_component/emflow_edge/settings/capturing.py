"""Which results are captured, tensors and all: the section `capture`, or the workshop's `captureData`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emflow_schema import fields
from emflow_schema.errors import ConfigProblem

KEYS = frozenset(("enabled", "every"))


@dataclass(frozen=True)
class CaptureSettings:
    """Whether the agent is given the tensors of results, and of which.

    every: seconds between two captures of one stream, 0 for every result; every_frames: with n above 0, every n-th
    result instead.
    """

    enabled: bool = False
    every: float = 10.0
    every_frames: int = 0


def read_capture(config: Mapping[str, Any]) -> CaptureSettings:
    """Check `capture` and `captureData`, which means `capture.enabled`.

    Raises:
        ConfigProblem: a value is wrong, or the two contradict each other.
    """
    one = fields.section(config, "capture")
    unknown = sorted(set(one) - KEYS)
    if unknown:
        raise ConfigProblem(f"capture.{unknown[0]}: means nothing; there are {' and '.join(sorted(KEYS))}")
    enabled = _truth(one.get("enabled"), "capture.enabled")
    workshop = _truth(config.get("captureData"), "captureData")
    if enabled is not None and workshop is not None and enabled != workshop:
        raise ConfigProblem("capture.enabled and captureData contradict each other: keep one of them")
    every, every_frames = fields.every(one, "every", "10s", "capture.")
    return CaptureSettings(bool(workshop if enabled is None else enabled), every, every_frames)


def _truth(value: Any, key: str) -> bool | None:
    return None if value in (None, "") else fields.truth({key: value}, key)
