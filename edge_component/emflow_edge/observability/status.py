"""The status of the run and of each stream, with the reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from emflow_edge.timestamps import format_utc, utc_now

STARTING, RUNNING, DEGRADED = "starting", "running", "degraded"
NO_AGENT, UNPUBLISHED = "no agent", "unpublished"
_PRESENT = "present"


@dataclass
class _Results:
    """Of one stream. newest: Unix time of its last result, for people; since: monotonic seconds of it, or of the start
    of the stream; durations are taken from this one only."""

    newest: float | None
    since: float


class Status:
    """Combines the states of cameras, agent and publisher.

    A stream is `running` when its camera delivers frames, the model is loaded, and results are published. Otherwise it
    has the first of these states that applies: that of its camera (`starting`, `absent`, `frozen`, `black`), `no
    agent`, `unpublished`. The run is `running` when all streams are, `starting` while no stream has another state, and
    `degraded` otherwise.

    Args:
        changed: called from any thread after every change of the snapshot.
    """

    def __init__(self, changed: Callable[[], object] = lambda: None) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._cameras: dict[str, tuple[str, str]] = {}
        self._agent = (STARTING, "")
        self._publisher = (_PRESENT, "")
        self._refused = ""
        self._results: dict[str, _Results] = {}
        self._current: dict[str, Any] = {}
        self._announced = self._current
        # What is so, and since when: of the run, the agent, and each stream.
        self._run_since = self._agent_since = ("", utc_now())
        self._streams_since: dict[str, tuple[str, str]] = {}

    def set_camera(self, stream: str, state: str, reason: str = "") -> None:
        """state: `starting`, `present`, `absent`, `frozen` or `black`."""
        with self._lock:
            if stream in self._cameras:
                self._cameras[stream] = (state, reason)
        self._notify()

    def set_streams(self, streams: tuple[str, ...], replaced: Collection[str] = ()) -> None:
        """Set the streams that exist now. replaced: those with another camera, of which nothing is known yet."""
        with self._lock:
            known = {name: state for name, state in self._cameras.items() if name not in replaced}
            self._cameras = {name: known.get(name, (STARTING, "")) for name in streams}
            now = time.monotonic()
            self._results = {name: self._results.get(name) or _Results(None, now) for name in streams}
        self._notify()

    def set_agent(self, ready: bool, reason: str = "") -> None:
        with self._lock:
            self._agent = (_PRESENT if ready else NO_AGENT, reason)
        self._notify()

    def set_publisher(self, sends: bool, reason: str = "") -> None:
        with self._lock:
            self._publisher = (_PRESENT if sends else UNPUBLISHED, reason)
        self._notify()

    def result(self, stream: str) -> None:
        """A stream has a new result; one that cannot be published does not count."""
        with self._lock:
            if stream in self._results and self._publisher[0] == _PRESENT:
                self._results[stream] = _Results(time.time(), time.monotonic())

    def set_configuration_refused(self, reason: str) -> None:
        """Why the last new configuration was refused; empty when it was accepted."""
        with self._lock:
            self._refused = reason
        self._notify()

    def snapshot(self) -> dict[str, Any]:
        """status, since (UTC), streams: {name: {status, reason?, since, last_result?, seconds_without_result}}, agent:
        {status, reason?, since}, configuration_refused?

        `last_result` is UTC; `seconds_without_result` are those since then, or since the stream began.
        """
        with self._lock:
            streams = {name: self._of(camera) for name, camera in self._cameras.items()}
            words = {one["status"] for one in streams.values()}
            whole = RUNNING if words <= {RUNNING} else (STARTING if words <= {RUNNING, STARTING} else DEGRADED)
            agent = _state(*self._agent)
            status: dict[str, Any] = {"status": whole, "streams": streams, "agent": agent}
            if self._refused:
                status["configuration_refused"] = self._refused
            if status != self._current:
                self._note_times(status)
                self._current = status
            return {
                **status,
                "streams": {name: {**one, **self._times(name)} for name, one in streams.items()},
                "agent": {**agent, "since": self._agent_since[1]},
                "since": self._run_since[1],
            }

    def _note_times(self, status: dict[str, Any]) -> None:
        """Note since when each part is as it is; where only others have changed, that stays."""
        now = utc_now()

        def noted(state: str, before: tuple[str, str]) -> tuple[str, str]:
            return before if state == before[0] else (state, now)

        self._run_since = noted(repr({**status, "agent": None}), self._run_since)
        self._agent_since = noted(status["agent"]["status"], self._agent_since)
        self._streams_since = {
            name: noted(one["status"], self._streams_since.get(name, ("", now)))
            for name, one in status["streams"].items()
        }

    def _times(self, stream: str) -> dict[str, Any]:
        results = self._results[stream]
        times: dict[str, Any] = {"since": self._streams_since[stream][1]}
        if results.newest is not None:
            times["last_result"] = format_utc(results.newest)
        return {**times, "seconds_without_result": round(max(0.0, time.monotonic() - results.since), 1)}

    def _of(self, camera: tuple[str, str]) -> dict[str, str]:
        for state, reason in (camera, self._agent, self._publisher):
            if state != _PRESENT:
                return _state(state, reason)
        return _state(RUNNING)

    def _notify(self) -> None:
        self.snapshot()
        # Compared with the last announced status: another thread may have called `snapshot` in between.
        with self._lock:
            changed, self._announced = self._current is not self._announced, self._current
        if changed:
            self._changed()


def _state(state: str, reason: str = "") -> dict[str, str]:
    word = RUNNING if state == _PRESENT else state
    return {"status": word, "reason": reason} if reason else {"status": word}


class CameraStatusListener:
    """Updates the status with the health of a camera (`camera.health.HealthListener`).

    Args:
        replaced: set when another camera has taken its place; what it says from then on is not of that one.
    """

    def __init__(self, status: Status, stream: str, replaced: threading.Event | None = None) -> None:
        self._status, self._stream, self._replaced = status, stream, replaced or threading.Event()
        self._present = False

    def present(self, width: int, height: int, fps: float) -> None:  # noqa: ARG002
        self._present = True
        self._set("present")

    def absent(self, reason: str) -> None:
        self._present = False
        self._set("absent", reason)

    def frozen(self) -> None:
        self._set("frozen", "the picture does not change")

    def black(self) -> None:
        self._set("black", "the picture is black")

    def clear(self) -> None:
        if self._present:
            self._set("present")

    def _set(self, state: str, reason: str = "") -> None:
        if not self._replaced.is_set():
            self._status.set_camera(self._stream, state, reason)
