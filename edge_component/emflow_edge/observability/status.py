"""How the run is, in one word for the whole and one for each stream, with the reason."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from emflow_edge.timestamps import utc_now

STARTING, RUNNING, DEGRADED = "starting", "running", "degraded"
NO_AGENT, UNPUBLISHED = "no agent", "unpublished"
_PRESENT = "present"


class Status:
    """What cameras, agent and publisher said last.

    A stream is `running` when its camera gives frames, the agent holds the model and results get out. Otherwise it is
    what holds it up, looked for in this order: what its camera is (`starting`, `absent`, `frozen`, `black`),
    `no agent`, `unpublished`. The whole is `running` when all its streams are, `starting` as long as nothing worse is
    known, and `degraded` otherwise.

    Args:
        changed: called without arguments, from any thread, after every change of what `snapshot` tells.
    """

    def __init__(self, changed: Callable[[], object] = lambda: None) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._cameras: dict[str, tuple[str, str]] = {}
        self._agent = (STARTING, "")
        self._publisher = (_PRESENT, "")
        self._refused = ""
        self._told: dict[str, Any] = {}
        self._announced = self._told
        self._since = utc_now()

    def camera(self, stream: str, state: str, reason: str = "") -> None:
        """state: `starting`, `present`, `absent`, `frozen` or `black`."""
        with self._lock:
            if stream in self._cameras:
                self._cameras[stream] = (state, reason)
        self._tell()

    def keep(self, streams: tuple[str, ...]) -> None:
        """There are these streams now, and no others."""
        with self._lock:
            self._cameras = {name: self._cameras.get(name, (STARTING, "")) for name in streams}
        self._tell()

    def agent(self, ready: bool, reason: str = "") -> None:
        with self._lock:
            self._agent = (_PRESENT if ready else NO_AGENT, reason)
        self._tell()

    def publisher(self, sends: bool, reason: str = "") -> None:
        with self._lock:
            self._publisher = (_PRESENT if sends else UNPUBLISHED, reason)
        self._tell()

    def refused(self, reason: str) -> None:
        """Why a new configuration was not taken; empty when the last one was."""
        with self._lock:
            self._refused = reason
        self._tell()

    def snapshot(self) -> dict[str, Any]:
        """status, since (UTC), streams: {name: {status, reason?}}, configuration_refused?"""
        with self._lock:
            streams = {name: self._of(camera) for name, camera in self._cameras.items()}
            words = {one["status"] for one in streams.values()}
            whole = RUNNING if words <= {RUNNING} else (STARTING if words <= {RUNNING, STARTING} else DEGRADED)
            told: dict[str, Any] = {"status": whole, "streams": streams}
            if self._refused:
                told["configuration_refused"] = self._refused
            if told != self._told:
                self._told, self._since = told, utc_now()
            return {**told, "since": self._since}

    def _of(self, camera: tuple[str, str]) -> dict[str, str]:
        for state, reason in (camera, self._agent, self._publisher):
            if state != _PRESENT:
                return {"status": state, "reason": reason} if reason else {"status": state}
        return {"status": RUNNING}

    def _tell(self) -> None:
        self.snapshot()
        # Not compared with what it was a moment ago: somebody else may have asked in between.
        with self._lock:
            changed, self._announced = self._told is not self._announced, self._told
        if changed:
            self._changed()


# What one camera tells of itself, as part of the run's status.


class CameraStatusListener:
    """Takes what a source reports (`camera.health.Health`) into the status; the source itself logs it."""

    def __init__(self, status: Status, stream: str) -> None:
        self._status, self._stream = status, stream
        self._present = False

    def present(self, width: int, height: int, fps: float) -> None:  # noqa: ARG002
        self._present = True
        self._status.camera(self._stream, "present")

    def absent(self, reason: str) -> None:
        self._present = False
        self._status.camera(self._stream, "absent", reason)

    def frozen(self) -> None:
        self._status.camera(self._stream, "frozen", "the same picture comes all the time")

    def black(self) -> None:
        self._status.camera(self._stream, "black", "the picture is black")

    def clear(self) -> None:
        if self._present:
            self._status.camera(self._stream, "present")
