"""A camera that is killed, or that freezes with its connection open, and comes back: how soon it is seen again.

Target: results within 1 s of its return, none of them from an older frame, under 2 % of a core meanwhile. Beside ours
stands the loop that everybody writes: OpenCV, opened again whenever a read fails. Every frame tells when it was sent
(`clip_camera.py`), which shows whether it is an old one.

The camera sends a key frame every second and none on request, and nobody can show a picture before one. So it comes
back at other moments between two of them, turn by turn, and the time to the next is shown beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

RATE = KEYS = 30
# How long the camera is away at least. OpenCV gives a silent camera up after 30 s by default.
AWAY = 4.0
LONGEST = 40.0
# Frames sent so long before the camera's return are from before it: one may be on its way at that moment.
_SLACK = 0.05


def ours(url: str) -> Callable[[], object]:
    from emflow_edge.camera.reader import CameraReader
    from emflow_edge.metrics.counters import Counters
    from emflow_schema.edge_config import Stream
    from emflow_schema.units import Interval

    camera = CameraReader(Stream("front", url, every=Interval("0s")), Counters(), threading.Event())
    camera.start()
    return lambda: camera.frames.take(None).image


def opencv(url: str) -> Callable[[], object]:
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp"
    os.environ["OPENCV_LOG_LEVEL"] = "OFF"
    import cv2

    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)

    def read() -> object:
        nonlocal capture
        while True:
            ok, picture = capture.read()
            if ok:
                return picture
            capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)

    return read


READERS = {"ours": ours, "OpenCV, opened again": opencv}


def child(name: str, url: str) -> None:
    """Print each frame's number with when it was seen and the processor time used so far."""
    from clip_camera import number_in

    take = READERS[name](url)
    while True:
        number = number_in(take())  # type: ignore[arg-type]
        print(json.dumps([time.time(), number, time.process_time()]), flush=True)


class Reporter:
    """A child and what it saw."""

    def __init__(self, name: str, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child", name, "--url", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.latest: list[tuple[float, int, float]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.latest.append(tuple(json.loads(line)))

    def used(self) -> float:
        """Seconds of processor time so far."""
        import psutil

        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def wait(self, after: float) -> list[tuple[float, int, float]]:
        """What was seen in the second that begins with the first frame after a moment."""
        end = time.time() + LONGEST
        while time.time() < end:
            new = [one for one in list(self.latest) if one[0] > after]
            if new and time.time() > new[0][0] + 1:
                return new
            time.sleep(0.02)
        return []


def measure(name: str, camera: object, how: str, away: float) -> dict[str, float]:
    """One absence: seconds from the return to the first frame, and to the next key frame; share of a core meanwhile;
    old frames seen."""
    from clip_camera import ClipCamera, sent

    assert isinstance(camera, ClipCamera)
    camera.start()
    watcher = Reporter(name, camera.url)
    try:
        watcher.wait(0.0)
        if how == "killed":
            camera.kill()
        else:
            camera.process.send_signal(signal.SIGSTOP)
        # What is under way comes to its end first.
        time.sleep(0.5)
        used, since = watcher.used(), time.time()
        time.sleep(away)
        share = (watcher.used() - used) / (time.time() - since)
        if how == "killed":
            back = camera.start()
        else:
            back = time.time()
            camera.process.send_signal(signal.SIGCONT)
        new = watcher.wait(back)
        old = [now for now, number, _ in new if sent(number, camera.began, camera.rate, now) < back - _SLACK]
        interval = KEYS / RATE
        key = interval - (back - camera.began) % interval
        return {"back": new[0][0] - back if new else float("nan"), "key": key, "share": share, "old": float(len(old))}
    finally:
        watcher.process.kill()
        watcher.process.wait()
        camera.process.send_signal(signal.SIGCONT)
        camera.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.url)
    from clip_camera import ClipCamera

    print(f"640x480, {RATE} frames a second, away for {AWAY:g} s and more, worst of {options.turns} turns (median)\n")
    print("| | first frame after its return | beyond its first key frame | processor meanwhile | old frames |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="emflow-bench-") as folder:
        camera = ClipCamera(Path(folder), "640x480", RATE, KEYS)
        for how in ("killed", "frozen"):
            for name in READERS:
                phases = [turn / options.turns * KEYS / RATE for turn in range(options.turns)]
                turns = [measure(name, camera, how, AWAY + phase) for phase in phases]
                back, share = [one["back"] for one in turns], [one["share"] * 100 for one in turns]
                beyond = [one["back"] - one["key"] for one in turns]
                # Who stays connected goes on with what comes, key frame or not.
                shown = f"{max(beyond):.2f} s ({statistics.median(beyond):.2f})" if min(beyond) > 0 else "-"
                print(
                    f"| {how}: {name} | {max(back):.2f} s ({statistics.median(back):.2f}) "
                    f"| {shown} "
                    f"| {max(share):.1f} % ({statistics.median(share):.1f}) | {sum(one['old'] for one in turns):.0f} |",
                    flush=True,
                )
    print("\ntarget: within 1 s, under 2 % of a core, none old")
    return 0


if __name__ == "__main__":
    sys.exit(main())
