"""Cameras that OpenCV reads, each in its own thread, because OpenCV may hang."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable, Protocol, TypeVar

import numpy as np

from emflow_edge.camera.open_camera import ArrivedFrame, DecodedPicture
from emflow_edge.opencv import cv2
from emflow_edge.rtsp.errors import CameraLost
from emflow_schema.edge_config import Stream

if TYPE_CHECKING:
    from emflow_edge.camera.frame import Image

R = TypeVar("R")

OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_environment = threading.Condition()
# Guarded by it: the values of the variables, the number of users, and the previous values.
_wanted: dict[str, tuple[str, int]] = {}
_before: dict[str, str | None] = {}
# Subsampling in both directions is enough to detect whether a picture changes.
_STEP = 8
# Seconds after the timeouts of OpenCV before a call counts as hanging.
_GRACE = 1.0


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable while a capture is opened: the only way to pass FFmpeg options to OpenCV.

    Threads that need the same value share it, so that a camera that does not answer does not block others.
    """
    with _environment:
        _environment.wait_for(lambda: _wanted.setdefault(name, (value, 0))[0] == value)
        users = _wanted[name][1]
        if not users:
            _before[name] = os.environ.get(name)
            os.environ[name] = value
        _wanted[name] = value, users + 1
    try:
        yield
    finally:
        with _environment:
            users = _wanted[name][1] - 1
            _wanted[name] = value, users
            if not users:
                del _wanted[name]
                before = _before.pop(name)
                if before is None:
                    del os.environ[name]
                else:
                    os.environ[name] = before
                _environment.notify_all()


def parameters(**wanted: float) -> list[int]:
    """The properties that this OpenCV supports, as parameters for `open`. Timeouts need 4.6, threads 4.8."""
    return [
        number
        for name, value in wanted.items()
        if hasattr(cv2, f"CAP_PROP_{name}")
        for number in (getattr(cv2, f"CAP_PROP_{name}"), int(value))
    ]


class ArrayPicture:
    """A picture in an array: uint8, height x width x 3, BGR."""

    def __init__(self, image: Any) -> None:
        self._image: Image = np.asarray(image, np.uint8)
        if self._image.ndim == 2:
            self._image = np.repeat(self._image[:, :, None], 3, axis=2)
        self.height, self.width = self._image.shape[:2]

    def image(self) -> Image:
        return self._image

    def luma(self) -> Image:
        """The green channel of every 8th pixel of every 8th row, an approximation of the brightness."""
        return self._image[::_STEP, ::_STEP, 1].copy()


class CameraRelay(Protocol):
    """What stands between a program and a camera, so that the program needs no user and password."""

    @property
    def url(self) -> str: ...

    @property
    def problem(self) -> CameraLost | None:
        """Why the camera's stream ended, or did not begin; None where it is not known."""

    def close(self) -> None: ...


class OpencvCamera:
    """A capture of OpenCV in a thread of its own, which is abandoned when it hangs.

    Args:
        stream: its settings, for the timeouts.
        opened: opens the capture; returns None if that fails.
        refusal: error message for a camera that cannot be opened.
        stamped: whether the position of the capture is the clock of the camera.
        relay: through which the capture reads the camera; closed with it, and also when it cannot be opened.

    Raises:
        CameraLost: it cannot be opened, or not in time.
    """

    def __init__(
        self,
        stream: Stream,
        opened: Callable[[], cv2.VideoCapture | None],
        refusal: str,
        *,
        stamped: bool = False,
        relay: CameraRelay | None = None,
    ) -> None:
        self._stream, self._stamped, self._relay = stream, stamped, relay
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._capture: cv2.VideoCapture | None = None
        self._hangs = False
        self._thread = threading.Thread(target=self._run, name=f"opencv-{stream.name}", daemon=True)
        self._thread.start()
        try:
            capture = self._do(opened, stream.open_timeout.seconds + _GRACE, "be opened")
            if capture is None:
                raise self._lost(refusal)
            self._open: cv2.VideoCapture = capture
            self.fps = max(0.0, float(self._do(lambda: capture.get(cv2.CAP_PROP_FPS), _GRACE, "be asked")))
        except BaseException:
            self.close()
            raise

    def grab(self) -> ArrivedFrame:
        if not self._do(self._open.grab, self._stream.read_timeout.seconds + _GRACE, "be read"):
            raise self._lost("stopped sending")
        taken, at = time.time(), time.monotonic()
        stamp = self._do(lambda: self._open.get(cv2.CAP_PROP_POS_MSEC), _GRACE, "be asked") if self._stamped else 0.0
        self._arrival = ArrivedFrame(taken, at, camera_clock=stamp / 1000 if stamp else None)
        return self._arrival

    def decode(self, *, alone: bool) -> list[tuple[ArrivedFrame, DecodedPicture]]:  # noqa: ARG002 each can be had for itself
        ok, image = self._do(self._open.retrieve, self._stream.read_timeout.seconds + _GRACE, "be read")
        if not ok or image is None:
            raise CameraLost("sends data that cannot be decoded")
        return [(self._arrival, ArrayPicture(image))]

    def close(self) -> None:
        self._work.put(None)
        if not self._hangs:
            # The process must not end while OpenCV releases the capture.
            self._thread.join(_GRACE)
        if self._relay is not None:
            self._relay.close()

    def _lost(self, why: str) -> CameraLost:
        """The reason that the relay knows, else this one."""
        known = self._relay.problem if self._relay is not None else None
        return CameraLost(why) if known is None else known

    def _run(self) -> None:
        while (action := self._work.get()) is not None:
            action()
        if self._capture is not None:
            self._capture.release()

    def _do(self, action: Callable[[], R], timeout: float, what: str) -> R:
        """Run an action in the thread and wait for its result."""
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def act() -> None:
            try:
                result = action()
                if isinstance(result, cv2.VideoCapture):
                    self._capture = result
                done.put((result, None))
            except cv2.error as error:
                done.put((None, error))

        self._work.put(act)
        try:
            result, error = done.get(timeout=timeout)
        except queue.Empty:
            self._hangs = True
            raise self._lost(f"hangs: it could not {what} within {timeout:g} s") from None
        if error is not None:
            raise CameraLost(f"sends data that OpenCV cannot process ({error.err or 'no reason given'})") from error
        return result  # type: ignore[no-any-return]
