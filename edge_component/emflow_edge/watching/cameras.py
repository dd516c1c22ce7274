"""What one camera tells of itself, as part of the run's status."""

from __future__ import annotations

from emflow_edge.observability.status import Status


class CameraHealth:
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
