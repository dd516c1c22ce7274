"""What SageMaker's List calls have in common: filters by time, name and status, and an order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emflow_emulator.aws.protocol import Params

Summary = dict[str, Any]

_TIMES = {"CreationTime": "CreationTime", "LastModifiedTime": "LastModifiedTime"}


def pick(
    summaries: Iterable[Summary],
    params: Params,
    *,
    name: str,
    status: str | None = None,
    model: str | None = None,
) -> list[Summary]:
    """Those that fit `…After`, `…Before`, `NameContains`, `StatusEquals` and `ModelNameContains`.

    Args:
        name, status, model: the members of a summary that the last three look at.
    """
    return [each for each in summaries if _fits(each, params, name, status, model)]


def _fits(summary: Summary, params: Params, name: str, status: str | None, model: str | None) -> bool:
    for time in _TIMES:
        if f"{time}After" in params and not summary[time] > params[f"{time}After"]:
            return False
        if f"{time}Before" in params and not summary[time] < params[f"{time}Before"]:
            return False
    if params.get("NameContains", "").lower() not in summary[name].lower():
        return False
    if model and params.get("ModelNameContains", "").lower() not in summary[model].lower():
        return False
    return not status or params.get("StatusEquals") in (None, summary[status])


def sort(summaries: list[Summary], params: Params, keys: Mapping[str, str], default: str) -> list[Summary]:
    """In the order of `SortBy` and `SortOrder`; the newest first when nothing is said, as SageMaker lists.

    Args:
        keys: value of `SortBy` → member of a summary.
        default: the value of `SortBy` when it is not given.
    """
    member = keys[params.get("SortBy", default)]
    descending = params.get("SortOrder", "Descending") == "Descending"
    return sorted(summaries, key=lambda each: each[member], reverse=descending)
