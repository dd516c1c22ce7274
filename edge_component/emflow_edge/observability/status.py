"""The status of the run and of each stream, with the reason."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from emflow_edge.timestamps import utc_now

STARTING, RUNNING, DEGRADED = "starting", "running", "degraded"
NO_AGENT, UNPUBLISHED = "no agent", "unpublished"
_PRESENT = "present"


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
        self._current: dict[str, Any] = {}
        self._announced = self._current
        self._since = utc_now()

    def set_camera(self, stream: str, state: str, reason: str = "") -> None:
        """state: `starting`, `present`, `absent`, `frozen` or `black`."""
        with self._lock:
            if stream in self._cameras:
                self._cameras[stream] = (state, reason)
        self._notify()

    def set_streams(self, streams: tuple[str, ...]) -> None:
        """Set the streams that exist now."""
        with self._lock:
            self._cameras = {name: self._cameras.get(name, (STARTING, "")) for name in streams}
        self._notify()

    def set_agent(self, ready: bool, reason: str = "") -> None:
        with self._lock:
            self._agent = (_PRESENT if ready else NO_AGENT, reason)
        self._notify()

    def set_publisher(self, sends: bool, reason: str = "") -> None:
        with self._lock:
            self._publisher = (_PRESENT if sends else UNPUBLISHED, reason)
        self._notify()

    def set_configuration_refused(self, reason: str) -> None:
        """Why the last new configuration was refused; empty when it was accepted."""
        with self._lock:
            self._refused = reason
        self._notify()

    def snapshot(self) -> dict[str, Any]:
        """status, since (UTC), streams: {name: {status, reason?}}, configuration_refused?"""
        with self._lock:
            streams = {name: self._of(camera) for name, camera in self._cameras.items()}
            words = {one["status"] for one in streams.values()}
            whole = RUNNING if words <= {RUNNING} else (STARTING if words <= {RUNNING, STARTING} else DEGRADED)
            status: dict[str, Any] = {"status": whole, "streams": streams}
            if self._refused:
                status["configuration_refused"] = self._refused
            if status != self._current:
                self._current, self._since = status, utc_now()
            return {**status, "since": self._since}

    def _of(self, camera: tuple[str, str]) -> dict[str, str]:
        for state, reason in (camera, self._agent, self._publisher):
            if state != _PRESENT:
                return {"status": state, "reason": reason} if reason else {"status": state}
        return {"status": RUNNING}

    def _notify(self) -> None:
        self.snapshot()
        # Compared with the last announced status: another thread may have called `snapshot` in between.
        with self._lock:
            changed, self._announced = self._current is not self._announced, self._current
        if changed:
            self._changed()


class CameraStatusListener:
    """Updates the status with the health of a camera (`camera.health.HealthListener`)."""

    def __init__(self, status: Status, stream: str) -> None:
        self._status, self._stream = status, stream
        self._present = False

    def present(self, width: int, height: int, fps: float) -> None:  # noqa: ARG002
        self._present = True
        self._status.set_camera(self._stream, "present")

    def absent(self, reason: str) -> None:
        self._present = False
        self._status.set_camera(self._stream, "absent", reason)

    def frozen(self) -> None:
        self._status.set_camera(self._stream, "frozen", "the picture does not change")

    def black(self) -> None:
        self._status.set_camera(self._stream, "black", "the picture is black")

    def clear(self) -> None:
        if self._present:
            self._status.set_camera(self._stream, "present")
