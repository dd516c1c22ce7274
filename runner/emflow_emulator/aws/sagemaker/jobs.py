"""Code that compilation and packaging jobs share: how they run, and how SageMaker lists them.

A job takes time, runs in its own thread, and has a failure reason if it fails. The List calls filter by time, name and
status, and sort.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from emflow_emulator.aws.protocol import Params

log = logging.getLogger(__name__)

ENDED = frozenset({"COMPLETED", "FAILED", "STOPPED"})

_STARTING = 0.25
"""The fraction of its duration for which a job is STARTING."""


class JobFailed(Exception):
    """The job failed; the text is its failure reason."""


class Job:
    """One run of `work`, from STARTING through INPROGRESS to COMPLETED, FAILED or STOPPED.

    Args:
        name: for the thread and the log.
        seconds: minimum duration; the job ends after this time, as soon as the work is done.
        work: does the work; the text of its JobFailed becomes the failure reason.
    """

    def __init__(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        self.created = self.modified = datetime.now(UTC)
        self.started: datetime | None = None
        self.ended: datetime | None = None
        self.status = "STARTING"
        self.reason = ""
        self._deadline = monotonic() + seconds
        self._seconds = seconds
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"job-{name}")
        self._thread.start()

    def stop(self) -> None:
        """Stop the job; work that is already running is not interrupted, but its result is ignored."""
        if self.status not in ENDED:
            self._move("STOPPING")
            self._stop.set()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        if not self._stop.wait(self._seconds * _STARTING):
            self.started = datetime.now(UTC)
            self._move("INPROGRESS")
            end, reason = "COMPLETED", ""
            try:
                self._work()
            except JobFailed as error:
                end, reason = "FAILED", str(error)
            except Exception:
                log.exception("%s failed", self._thread.name)
                end, reason = "FAILED", "InternalError: the embedded AWS failed; its log has the details"
            if not self._stop.wait(max(0.0, self._deadline - monotonic())):
                self.reason = reason
                self.ended = datetime.now(UTC)
                self._move(end)
                return
        self.ended = datetime.now(UTC)
        self._move("STOPPED")

    def _move(self, status: str) -> None:
        self.modified = datetime.now(UTC)
        self.status = status


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
    """The summaries that match `…After`, `…Before`, `NameContains`, `StatusEquals` and `ModelNameContains`.

    Args:
        name, status, model: the members of a summary that the last three filters compare.
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
    """The summaries in the order of `SortBy` and `SortOrder`; by default the newest first, as in SageMaker.

    Args:
        keys: value of `SortBy` → member of a summary.
        default: the default of `SortBy`.
    """
    member = keys[params.get("SortBy", default)]
    descending = params.get("SortOrder", "Descending") == "Descending"
    return sorted(summaries, key=lambda each: each[member], reverse=descending)
