"""OpenCV's captures, kept on a leash: the one place that knows its environment variables, and that it may hang.

`cv2` is imported from here everywhere, so that the variables are set before it is loaded.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable, TypeVar

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
# Guarded by it: what the variables are, for how many, and what they were before.
_wanted: dict[str, tuple[str, int]] = {}
_before: dict[str, str | None] = {}
# Every so many pixels in each direction are enough to see whether a picture changes.
_STEP = 8
# What a capture of OpenCV gets beyond its own timeouts before it counts as hanging.
_GRACE = 1.0


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """A variable of the process for as long as a capture is opened: the only way to tell OpenCV FFmpeg's options.

    Those who want the same value have it together, so that a camera that does not answer holds up no others like it.
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
    """Those of the properties that this OpenCV has, as `open` takes them. Timeouts came with 4.6, threads with 4.8."""
    return [
        number
        for name, value in wanted.items()
        if hasattr(cv2, f"CAP_PROP_{name}")
        for number in (getattr(cv2, f"CAP_PROP_{name}"), int(value))
    ]


class ArrayPicture:
    """A picture that is an array already: uint8, height x width x 3, BGR."""

    def __init__(self, image: Any) -> None:
        self._image: Image = np.asarray(image, np.uint8)
        if self._image.ndim == 2:
            self._image = np.repeat(self._image[:, :, None], 3, axis=2)
        self.height, self.width = self._image.shape[:2]

    def image(self) -> Image:
        return self._image

    def luma(self) -> Image:
        """Green of every 8th pixel of every 8th row, which is most of brightness."""
        return self._image[::_STEP, ::_STEP, 1].copy()


class OpencvCamera:
    """A capture of OpenCV in a thread of its own, which is left behind when it hangs.

    Args:
        stream: for its timeouts.
        opened: opens it; None where that fails.
        refusal: what a camera that cannot be opened does, in words.
        stamped: whether its position is the camera's clock.

    Raises:
        Lost: it cannot be opened, or not in time.
    """

    def __init__(
        self, stream: Stream, opened: Callable[[], cv2.VideoCapture | None], refusal: str, *, stamped: bool = False
    ) -> None:
        self._stream, self._stamped = stream, stamped
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._capture: cv2.VideoCapture | None = None
        self._hangs = False
        self._thread = threading.Thread(target=self._run, name=f"opencv-{stream.name}", daemon=True)
        self._thread.start()
        try:
            capture = self._do(opened, stream.open_timeout.seconds + _GRACE, "be opened")
            if capture is None:
                raise CameraLost(refusal)
            self._open: cv2.VideoCapture = capture
            self.fps = max(0.0, float(self._do(lambda: capture.get(cv2.CAP_PROP_FPS), _GRACE, "be asked")))
        except BaseException:
            self.close()
            raise

    def grab(self) -> ArrivedFrame:
        if not self._do(self._open.grab, self._stream.read_timeout.seconds + _GRACE, "be read"):
            raise CameraLost("stopped sending")
        taken, at = time.time(), time.monotonic()
        stamp = self._do(lambda: self._open.get(cv2.CAP_PROP_POS_MSEC), _GRACE, "be asked") if self._stamped else 0.0
        self._arrival = ArrivedFrame(taken, at, camera_clock=stamp / 1000 if stamp else None)
        return self._arrival

    def decode(self, *, alone: bool) -> list[tuple[ArrivedFrame, DecodedPicture]]:  # noqa: ARG002 each can be had for itself
        ok, image = self._do(self._open.retrieve, self._stream.read_timeout.seconds + _GRACE, "be read")
        if not ok or image is None:
            raise CameraLost("sends what cannot be decoded")
        return [(self._arrival, ArrayPicture(image))]

    def close(self) -> None:
        self._work.put(None)
        if not self._hangs:
            # A process must not end while OpenCV still lets go of it.
            self._thread.join(_GRACE)

    def _run(self) -> None:
        while (action := self._work.get()) is not None:
            action()
        if self._capture is not None:
            self._capture.release()

    def _do(self, action: Callable[[], R], timeout: float, what: str) -> R:
        """Have the thread do something, and wait for it."""
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
            raise CameraLost(f"hangs: it did not let itself {what} for {timeout:g} s") from None
        if error is not None:
            raise CameraLost(f"sends what OpenCV stumbles over ({error.err or 'no reason given'})") from error
        return result  # type: ignore[no-any-return]
