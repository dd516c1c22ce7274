"""What is to be seen of a run: the sections `log` and `metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emflow_schema import fields
from emflow_schema.errors import ConfigProblem

_LEAST = 1.0


@dataclass(frozen=True)
class Observing:
    """How a run can be watched.

    log_format: `text`, or `json` for one object a line; log_level: `info`, `debug` or `warning`; every: seconds between
    two reports of the counters; port: of the metrics and pictures on 127.0.0.1, 0 for none.
    """

    log_format: str = "text"
    log_level: str = "info"
    every: float = 60.0
    port: int = 0


def read_observing(log: Mapping[str, Any], metrics: Mapping[str, Any]) -> Observing:
    """Check the sections `log` and `metrics`.

    Raises:
        ConfigProblem: a value is wrong.
    """
    every = fields.seconds(metrics, "every", "1m", prefix="metrics.")
    if every < _LEAST:
        raise ConfigProblem("metrics.every: is shorter than a second")
    return Observing(
        log_format=fields.choice(log, "format", ("text", "json"), "log."),
        log_level=fields.choice(log, "level", ("info", "debug", "warning"), "log."),
        every=every,
        port=fields.whole(metrics, "port", 0, low=0, high=65535, prefix="metrics."),
    )
