"""UTC timestamps as text."""

from __future__ import annotations

import time
from datetime import datetime, timezone


def format_utc(unix_time: float) -> str:
    """A Unix time as `2026-01-02T03:04:05.678Z`."""
    moment = datetime.fromtimestamp(unix_time, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_now() -> str:
    return format_utc(time.time())
