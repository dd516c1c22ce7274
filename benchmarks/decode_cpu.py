"""Processor time a result at one result a second from 1080p30 H.264, against a loop that reads every frame with OpenCV.

Target: at most a third with a key frame every second, no worse with one every four seconds. Both take one picture a
second as BGR, as processes, in turns, from the same camera, whose clip is encoded beforehand (`clip_camera.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

FIRST = 3


def ours(url: str, results: int) -> float:
    """Seconds of processor time a result."""
    from emflow_edge.camera.reader import CameraReader
    from emflow_edge.metrics.counters import Counters
    from emflow_schema.edge_config import Stream
    from emflow_schema.units import Interval

    camera = CameraReader(Stream("front", url, every=Interval("1s")), Counters(), threading.Event())
    camera.start()
    used = 0.0
    for number in range(FIRST + results):
        frame = camera.frames.take(20)
        camera.cadence.mark_taken(frame.arrived_at, frame.number)
        assert frame.image.shape == (1080, 1920, 3)
        if number == FIRST - 1:
            used = time.process_time()
    return (time.process_time() - used) / results


def opencv(url: str, results: int) -> float:
    """The same for a loop that reads every frame and uses one a second."""
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp"
    import cv2

    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    number, due, used = 0, 0.0, 0.0
    while number < FIRST + results:
        ok, picture = capture.read()
        assert ok
        now = time.monotonic()
        if now < due:
            continue
        due = now + 1.0
        number += 1
        assert picture.shape == (1080, 1920, 3)
        if number == FIRST:
            used = time.process_time()
    return (time.process_time() - used) / results


READERS = {"ours": ours, "OpenCV, every frame": opencv}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--results", type=int, default=8, help="of each turn (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(READERS[options.child](options.url, options.results)), flush=True)
        os._exit(0)
    from clip_camera import clip_camera

    rows = []
    with tempfile.TemporaryDirectory(prefix="emflow-bench-") as folder:
        for seconds in (1, 4):
            found: dict[str, list[float]] = {name: [] for name in READERS}
            with clip_camera(Path(folder), options.size, options.rate, options.rate * seconds) as camera:
                for _ in range(options.turns):
                    for name, times in found.items():
                        command = [sys.executable, __file__, "--child", name, "--url", camera.url]
                        command += ["--results", str(options.results)]
                        done = subprocess.run(command, capture_output=True, text=True, check=True)
                        times.append(float(done.stdout.split()[-1]) * 1000)
            mine, theirs = (statistics.median(found[name]) for name in READERS)
            rows.append(f"| key frame every {seconds} s | {mine:.1f} | {theirs:.1f} | {mine / theirs:.2f} |")
    print(f"{options.size}, {options.rate} frames a second, one result a second, median of {options.turns} turns\n")
    print("| ms of processor time a result | ours | OpenCV, every frame | ratio |\n| --- | ---: | ---: | ---: |")
    print("\n".join(rows))
    print("\ntarget: at most 0.33 with a key frame every second, at most 1 with one every four")
    return 0


if __name__ == "__main__":
    sys.exit(main())
