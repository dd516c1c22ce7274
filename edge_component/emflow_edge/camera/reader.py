"""Reads a camera for as long as the process runs: opens it, selects and decodes frames, reconnects when it is lost."""

from __future__ import annotations

import logging
import threading
import time
from typing import Callable

from emflow_edge.cadence import Cadence
from emflow_edge.camera import registry
from emflow_edge.camera.frame import Frame
from emflow_edge.camera.frame_selection import DecodeDecision, FrameSelector, LiveFrameDetector
from emflow_edge.camera.health import HealthListener, NoHealthListener, PictureMonitor
from emflow_edge.camera.open_camera import ArrivedFrame, DecodedPicture, OpenCamera
from emflow_edge.latest_slot import LatestSlot
from emflow_edge.metrics.counters import Counters
from emflow_edge.rtsp.errors import CameraLost, CameraRefused, UnsupportedCodec
from emflow_schema.backoff import Backoff
from emflow_schema.edge_config import Stream
from emflow_schema.errors import EdgeProblem

log = logging.getLogger(__name__)

Credentials = Callable[[str], "tuple[str, str]"]
"""Returns user and password of the secret with this name; raises EdgeProblem."""

# Delays between attempts. A camera that cannot be reached is tried often, so that it is back soon. One that refuses us
# is tried less and less often: some lock an account after several wrong passwords.
_ABSENT = (0.1, 0.2)
_REFUSED = (0.5, 30.0)
# Maximum number of frames that a decoder holds back (H.264 and H.265).
_HELD = 16
# Maximum number of different reasons that are logged while a camera is absent.
_REASONS = 8
# Maximum number of different notices about a camera.
_NOTICES = 16
# Seconds during which OpenCV reads a camera with a codec that we cannot decode; then our client is tried again.
_OTHER_CODEC = 60.0
# Seconds in which frames are decoded and give no picture, before the camera is opened again. Twice as many each time: a
# camera that begins without a key frame may have few of them.
_WITHOUT_PICTURE, _LONGEST_WITHOUT_PICTURE = 10.0, 160.0
# Seconds without a decoded picture after packet loss, before the camera is opened again.
_DAMAGED = 10.0


class CameraReader:
    """A camera and the thread that reads it.

    Only frames that are needed are decoded; those that are due by `cadence` and live are put into `frames`, which
    holds the newest one.

    Args:
        stream: its settings.
        counters: for `captured`, `skipped` and `reconnects`.
        stop: ends it.
        health: listener for the state of the camera, which is logged too.
        credentials: returns user and password, for a stream with a secret.
    """

    def __init__(
        self,
        stream: Stream,
        counters: Counters,
        stop: threading.Event,
        health: HealthListener | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.frames: LatestSlot[Frame] = LatestSlot()
        self.cadence = Cadence(stream.every.seconds, stream.every.frames)
        self._stream, self._counters, self._stop = stream, counters, stop
        self._health: HealthListener = health or NoHealthListener()
        self._credentials, self._known = credentials, ("", "")
        self._eye = PictureMonitor(stream.frozen_after.seconds, stream.black_after.seconds)
        self._state = ""
        self._logged_reasons: set[str] = set()
        self._noticed: set[str] = set()
        self._reason = ""
        # Until when OpenCV reads the camera, because we cannot decode its codec.
        self._opencv_until = 0.0
        self._log = logging.LoggerAdapter(log, {"stream": stream.name})
        self._seen = False
        self._size = (0, 0)
        self._number = 0
        self._inside = 0
        self._patience = _WITHOUT_PICTURE
        self._thread = threading.Thread(target=self._run, name=f"camera-{stream.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended. A library may block it for some seconds."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        absent, refused = Backoff(*_ABSENT), Backoff(*_REFUSED)
        try:
            while not self._stop.is_set():
                backoff = absent
                try:
                    self._open_and_read(absent, refused)
                except UnsupportedCodec as lost:
                    self._log.info("camera %s %s: using the FFmpeg of OpenCV", self._stream.name, lost)
                    self._opencv_until = time.monotonic() + _OTHER_CODEC
                    continue
                except CameraLost as lost:
                    if isinstance(lost, CameraRefused):
                        backoff, self._known = refused, ("", "")
                    if not self._stop.is_set():
                        self._report_absent(str(lost))
                        self._stop.wait(backoff.delay())
                except Exception as error:
                    # An unexpected error of one camera must not end the others.
                    self._log.debug("camera %s", self._stream.name, exc_info=error)
                    # Without its message, which may contain a URL with a password.
                    self._report_absent(
                        f"cannot be read (unexpected error: {type(error).__name__}; see the log at level debug)"
                    )
                    self._stop.wait(refused.delay())
        finally:
            self.frames.close()

    def _open_and_read(self, absent: Backoff, refused: Backoff) -> None:
        """Read the camera until CameraLost or stop."""
        plain = time.monotonic() < self._opencv_until
        capture = registry.open_camera(self._stream, self._user_and_password(), self._stop, self._notice, plain=plain)
        try:
            self._read(capture, absent, refused)
        finally:
            capture.close()
            self._counters.add("skipped", self._inside + self.frames.clear())
            self._inside = 0

    def _user_and_password(self) -> tuple[str, str]:
        stream = self._stream
        if stream.credentials is None:
            return registry.in_url(stream)
        if not any(self._known):
            if self._credentials is None:
                raise CameraRefused("has its credentials in a secret, which needs Greengrass or --secrets")
            try:
                user, password = self._credentials(stream.credentials.secret)
            except EdgeProblem as problem:
                raise CameraRefused(f"is not opened: its secret cannot be read ({problem})") from problem
            self._known = user, password
        return self._known

    def _read(self, capture: OpenCamera, absent: Backoff, refused: Backoff) -> None:
        selection, lateness = FrameSelector(self.cadence), LiveFrameDetector()
        there = False
        damaged: float | None = None
        picture_at = time.monotonic()
        while not self._stop.is_set():
            arrival = capture.grab()
            self._number += 1
            self._counters.add("captured")
            live = lateness.is_live(arrival.camera_clock, arrival.arrived_at) and not arrival.superseded
            if lateness.clock_is_wrong:
                self._notice("has time stamps that do not keep pace with time; a frame's time is that of its arrival")
                arrival = arrival.without_clock()
            selection.sends_bursts = lateness.sends_bursts
            if lateness.sends_bursts:
                self._notice("sends its frames in bursts; the newest ones of each are taken")
            if arrival.superseded and lateness.is_behind:
                # Decoding is too slow: skip the waiting frames up to the next key frame.
                selection.restart()
            if arrival.intact and arrival.key:
                damaged = None
            elif not arrival.intact:
                damaged = damaged or arrival.arrived_at
            if damaged and arrival.arrived_at - damaged > _DAMAGED:
                self._counters.add("skipped")
                # After reconnecting, most cameras start with a key frame.
                raise CameraLost(f"loses packets: no picture could be decoded for {_DAMAGED:g} s")
            fate = selection.decide(arrival, self._number, self.frames.expected_next_take())
            if fate is DecodeDecision.SKIP:
                self._counters.add("skipped")
                continue
            self._inside += 1
            if self._inside > _HELD:
                # More than a decoder can hold: this frame or an earlier one gave no picture.
                self._inside -= 1
                self._counters.add("skipped")
                if arrival.arrived_at - picture_at > self._patience:
                    self._patience = min(2 * self._patience, _LONGEST_WITHOUT_PICTURE)
                    raise CameraLost("sends frames, but none of them can be decoded (is there no key frame?)")
            for of, picture in capture.decode(alone=fate is DecodeDecision.DECODE_ALONE):
                self._inside, damaged, picture_at = max(0, self._inside - 1), None, arrival.arrived_at
                self._patience = _WITHOUT_PICTURE
                if not there:
                    there = True
                    absent.reset()
                    refused.reset()
                    self._report_present(capture, picture)
                elif (picture.width, picture.height) != self._size:
                    self._report_size(capture, picture)
                self._look(picture, of.arrived_at)
                self._offer(of.without_clock() if lateness.clock_is_wrong else of, picture, live)

    def _offer(self, arrival: ArrivedFrame, picture: DecodedPicture, live: bool) -> None:
        if live and self.cadence.is_due(arrival.arrived_at, self._number):
            frame = Frame(picture.image, arrival.captured_at, arrival.arrived_at, self._number, arrival.delay)
            self._counters.add("skipped", self.frames.put(frame))
        else:
            self._counters.add("skipped")

    def _look(self, picture: DecodedPicture, at: float) -> None:
        """Report when the picture becomes frozen or black, and when that ends."""
        if not self._eye.is_due(at):
            return
        self._eye.look(picture.luma(), at)
        self._tell(self._eye.state)

    def _tell(self, state: str) -> None:
        before, self._state = self._state, state
        if state == before:
            return
        if before:
            self._log.info("camera %s: its picture is no longer %s", self._stream.name, before)
            self._health.clear()
        if state == "frozen":
            self._log.warning(
                "camera %s: its picture has not changed for %g s", self._stream.name, self._stream.frozen_after.seconds
            )
            self._health.frozen()
        elif state == "black":
            self._log.warning(
                "camera %s: its picture has been black for %g s", self._stream.name, self._stream.black_after.seconds
            )
            self._health.black()

    def _notice(self, text: str) -> None:
        """Log once what the camera does otherwise than its protocol says; it is read all the same."""
        if text not in self._noticed and len(self._noticed) < _NOTICES:
            self._noticed.add(text)
            self._log.warning("camera %s at %s %s", self._stream.name, self._stream.shown, text)

    def _report_absent(self, reason: str) -> None:
        """Log each reason once while the camera is absent, not each attempt."""
        if self._state:
            self._state = ""
            self._health.clear()
        self._eye.forget()
        if reason != self._reason:
            self._reason = reason
            self._health.absent(reason)
        if reason not in self._logged_reasons and len(self._logged_reasons) < _REASONS:
            self._logged_reasons.add(reason)
            self._log.warning(
                "camera %s at %s: %s; retrying until it can be reached", self._stream.name, self._stream.shown, reason
            )

    def _report_present(self, capture: OpenCamera, picture: DecodedPicture) -> None:
        self._logged_reasons.clear()
        self._reason = ""
        if self._seen:
            self._counters.add("reconnects")
        self._seen = True
        self._report_size(capture, picture)

    def _report_size(self, capture: OpenCamera, picture: DecodedPicture) -> None:
        self._size = width, height = picture.width, picture.height
        self._log.info("camera %s at %s: %d x %d pixels", self._stream.name, self._stream.shown, width, height)
        self._health.present(width, height, capture.fps)
