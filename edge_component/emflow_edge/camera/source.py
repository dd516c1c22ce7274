"""A camera's newest frames, for as long as the process runs: opened, watched, and opened again when it goes away."""

from __future__ import annotations

import logging
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from emflow_edge.backoff import Backoff
from emflow_edge.camera.newest import Newest
from emflow_edge.camera.opencv import cv2, open_stream
from emflow_edge.counters import Counters
from emflow_edge.settings.streams import Stream

if TYPE_CHECKING:
    # Not at run time: NumPy before 1.21, which board images have, has no NDArray.
    import numpy.typing as npt

log = logging.getLogger(__name__)

# A camera that does not answer at all is asked often, because that costs nothing and it should be seen soon. One that
# answers but gives no video is asked ever less often: some lock an account after a number of wrong passwords.
_ABSENT = (0.1, 0.5)
_REFUSING = (0.1, 5.0)
_CONNECT_TIMEOUT = 1.0
# Seconds that a frame has to be less behind than the one before to have waited; half a frame interval at 60 a second.
_CATCHING_UP = 0.008


@dataclass(frozen=True)
class Frame:
    """One picture. image: uint8, height x width x 3, BGR; taken: Unix time; at: the same moment on the monotonic clock.

    "Taken" is when this device had it: the camera's own clock may be anywhere.
    """

    image: npt.NDArray[np.uint8]
    taken: float
    at: float


class Source(Protocol):
    """Where a stream's frames come from."""

    frames: Newest[Frame]
    wanted_from: float
    """Monotonic time; frames from before are not wanted."""

    def start(self) -> None: ...

    def join(self, timeout: float) -> bool:
        """Wait for its thread to end; whether it has."""


class Camera:
    """One camera and the thread that reads it.

    Every frame is decoded, because each H.264 frame needs those before it, but only those from `wanted_from` on are
    converted to pixels and offered in `frames`, where the newest wins.
    """

    def __init__(self, stream: Stream, counters: Counters, stop: threading.Event) -> None:
        self.frames: Newest[Frame] = Newest()
        self.wanted_from = 0.0
        self._stream = stream
        self._counters = counters
        self._stop = stop
        self._said: set[str] = set()
        self._thorough = False
        self._seen = False
        self._thread = threading.Thread(target=self._run, name=f"camera-{stream.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end; whether it has. It may be held by a camera that hangs for some seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        absent, refusing = Backoff(*_ABSENT), Backoff(*_REFUSING)
        try:
            while not self._stop.is_set():
                reason, backoff = why_absent(self._stream), absent
                if reason is None:
                    absent.reset()
                    backoff = refusing
                    reason = self._watch(refusing)
                if not self._stop.is_set():
                    self._say(reason)
                    self._stop.wait(backoff.delay())
        finally:
            self.frames.close()

    def _say(self, reason: str) -> None:
        """One line for each reason while the camera is away, not one a try."""
        if reason not in self._said:
            self._said.add(reason)
            log.warning("camera %s at %s: %s; trying until it is there", self._stream.name, self._stream.shown, reason)

    def _watch(self, refusing: Backoff) -> str:
        """Read the camera until it stops; why it did."""
        capture = open_stream(self._stream.source, thorough=self._thorough)
        if capture is None:
            return "answers, but gives no video (is the path right, and user and password?)"
        try:
            if not capture.grab():
                self._thorough = not self._thorough
                return "answers, but no frame comes"
            refusing.reset()
            return self._read(capture)
        except cv2.error as error:
            return f"sends what OpenCV stumbles over ({error.err or 'no reason given'})"
        finally:
            capture.release()

    def _read(self, capture: cv2.VideoCapture) -> str:
        """Hand out frames, of which the first is grabbed already, until there is none."""
        backlog = Backlog()
        there = False
        while True:
            taken, at = time.time(), time.monotonic()
            self._counters.add("captured")
            waited = backlog.holds(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, at)
            if waited or at < self.wanted_from:
                self._counters.add("skipped")
            else:
                ok, image = capture.retrieve()
                if not ok:
                    return "sends what cannot be decoded"
                if not there:
                    there = True
                    self._is_there(image)
                self._counters.add("skipped", self.frames.put(Frame(np.asarray(image, np.uint8), taken, at)))
            if self._stop.is_set() or not capture.grab():
                return "stopped sending"

    def _is_there(self, image: Any) -> None:
        height, width = image.shape[:2]
        log.info("camera %s at %s: %d x %d pixels", self._stream.name, self._stream.shown, width, height)
        self._said.clear()
        if self._seen:
            self._counters.add("reconnects")
        self._seen = True


class Backlog:
    """Tells frames that waited in a buffer while the stream was opened from those that have just come.

    Frames that waited come faster than the camera made them, so how far each is behind its own time stamp falls from
    frame to frame; once they are live it stays.
    """

    def __init__(self) -> None:
        self._behind: float | None = None
        self._live = False

    def holds(self, stamp: float, now: float) -> bool:
        """Whether a frame with this time stamp, handed out now (both in seconds), waited in a buffer.

        The first frame counts as one that did: nothing can be told from it alone, and the next is near.
        """
        behind, before = now - stamp, self._behind
        self._behind = behind
        self._live = self._live or (before is not None and before - behind < _CATCHING_UP)
        return not self._live


def why_absent(stream: Stream) -> str | None:
    """Why nothing listens where the camera should be; None when something does. Takes a second at most.

    FFmpeg would find out too, but not tell why, and a host that is off would hold it for its whole timeout.
    """
    try:
        with socket.create_connection(stream.address, timeout=_CONNECT_TIMEOUT):
            return None
    except OSError as error:
        return f"is not there ({error.strerror or 'no answer'})"
    except ValueError:
        # Not even asked for: UnicodeError where the name cannot be encoded, ValueError where it holds a NUL.
        return "is not there (its host is no host name)"
