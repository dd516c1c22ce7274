"""How old a frame is when it is ready for the agent, against the leanest low-delay decoders on the same live stream.

Target: p50 within 10 ms and p99 within one frame interval of the leanest, and so too with a model that is slower than
the camera. Every frame tells when it was sent (`clip_camera.py`). In turns, as processes:

- ours: the edge component's own source, up to the picture as BGR;
- GStreamer: `rtspsrc latency=0 ! rtph264depay ! avdec_h264 max-threads=1 ! appsink max-buffers=1 drop=true`, its luma
  as it is, on the system's Python, where that has gi;
- libavformat: PyAV's demuxer and decoder with every low-delay option and one thread;
- OpenCV: `cv2.VideoCapture` as everybody uses it. It reads on while a slow model works, as a thread of its own would.

`--soak 3600`: ours and GStreamer's, each with a fast and with the slow model, all four at once for an hour; their first
minute beside their last.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

SYSTEM_PYTHON = "/usr/bin/python3"
GSTREAMER = (
    "rtspsrc location={url} protocols=tcp latency=0 ! rtph264depay ! avdec_h264 max-threads=1 "
    "! appsink name=sink max-buffers=1 drop=true sync=false"
)
# The barcode of clip_camera.py, for a Python that has nothing but gi.
GSTREAMER_CHILD = """
import json, sys, time
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import Gst, GstApp
Gst.init(None)
pipeline = Gst.parse_launch(sys.argv[1])
sink = pipeline.get_by_name("sink")
pipeline.set_state(Gst.State.PLAYING)
seconds, busy = float(sys.argv[2]), float(sys.argv[3])
seen, end = [], None
while end is None or time.time() < end:
    sample = sink.try_pull_sample(5 * Gst.SECOND)
    if sample is None:
        break
    buffer = sample.get_buffer()
    _, view = buffer.map(Gst.MapFlags.READ)
    now = time.time()
    end = end or now + seconds
    width = sample.get_caps().get_structure(0).get_int("width")[1]
    row = bytes(view.data[8 * width : 8 * width + 16 * 14])[8::16]
    buffer.unmap(view)
    bits = [value > 128 for value in row]
    if bits[0] and not bits[1]:
        seen.append((now, sum(1 << place for place, bit in enumerate(bits[2:]) if bit)))
    time.sleep(busy)
print(json.dumps(seen))
"""


class Slot:
    """The newest picture of a thread that reads on."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.picture: np.ndarray | None = None

    def put(self, picture: np.ndarray) -> None:
        with self.changed:
            self.picture = picture
            self.changed.notify()

    def take(self) -> np.ndarray:
        with self.changed:
            self.changed.wait_for(lambda: self.picture is not None, 5)
            assert self.picture is not None
            picture, self.picture = self.picture, None
            return picture


def ours(url: str) -> Callable[[], np.ndarray]:
    from emflow_edge.camera.reader import CameraReader
    from emflow_edge.metrics.counters import Counters
    from emflow_schema.edge_config import Stream
    from emflow_schema.units import Interval

    camera = CameraReader(Stream("front", url, every=Interval("0s")), Counters(), threading.Event())
    camera.start()
    return lambda: camera.frames.take(10).image


def libavformat(url: str) -> Callable[[], np.ndarray]:
    import av

    slot = Slot()

    def read() -> None:
        options = {
            "rtsp_transport": "tcp",
            "fflags": "nobuffer",
            "flags": "low_delay",
            "probesize": "32",
            "analyzeduration": "0",
        }
        with av.open(url, options=options) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            for frame in container.decode(stream):
                plane = frame.planes[0]
                slot.put(np.frombuffer(cast("Any", plane), np.uint8).reshape(-1, plane.line_size)[:16].copy())

    threading.Thread(target=read, daemon=True).start()
    return slot.take


def opencv(url: str) -> Callable[[], np.ndarray]:
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp"
    import cv2

    slot = Slot()

    def read() -> None:
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        while True:
            ok, picture = capture.read()
            if not ok:
                return
            slot.put(picture)

    threading.Thread(target=read, daemon=True).start()
    return slot.take


READERS = {"ours": ours, "libavformat": libavformat, "OpenCV": opencv}


def child(name: str, url: str, seconds: float, busy: float) -> None:
    """Take pictures for some seconds, busy for a while after each, and print when which number was seen."""
    from clip_camera import number_in

    take = READERS[name](url)
    seen, end = [], None
    while end is None or time.time() < end:
        number = number_in(take())
        now = time.time()
        end = end or now + seconds
        if number >= 0:
            seen.append((now, number))
        time.sleep(busy)
    print(json.dumps(seen), flush=True)
    os._exit(0)


def watching(name: str, camera: object, seconds: float, busy: float) -> subprocess.Popen[str]:
    """A reader as a process."""
    url = camera.url  # type: ignore[attr-defined]
    if name == "GStreamer":
        command = [SYSTEM_PYTHON, "-c", GSTREAMER_CHILD, GSTREAMER.format(url=url), str(seconds), str(busy)]
    else:
        command = [sys.executable, __file__, "--child", name, "--url", url]
        command += ["--seconds", str(seconds), "--busy", str(busy)]
    # What it says goes where this one's goes: nobody would empty a pipe for an hour.
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def ages(name: str, camera: object, process: subprocess.Popen[str]) -> list[tuple[float, float]]:
    """Of each picture, seconds since the first one and age in milliseconds, without those of the first second."""
    from clip_camera import sent

    out, _ = process.communicate()
    seen = json.loads(out.strip().splitlines()[-1]) if out.strip() else []
    if not seen:
        print(f"{name} saw nothing", file=sys.stderr)
        return []
    first = seen[0][0]
    began, rate = camera.began, camera.rate  # type: ignore[attr-defined]
    return [(now - first, (now - sent(number, began, rate, now)) * 1000) for now, number in seen if now > first + 1]


def soak(names: list[str], camera: object, seconds: float, slow: float) -> None:
    """Print the ages of the first minute and of the last, of all readers at once."""
    minute = min(60.0, seconds / 2)
    started = {(name, busy): watching(name, camera, seconds, busy) for busy in (0.0, slow) for name in names}
    print(f"{seconds:g} s, all at once\n")
    print(f"| age in ms | p50, first {minute:g} s | p99 | p50, last {minute:g} s | p99 |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for (name, busy), process in started.items():
        # The others finish meanwhile, and wait to be read.
        found = ages(name, camera, process)
        numbers = []
        for begin in (0.0, seconds - minute):
            one = [age for at, age in found if begin <= at <= begin + minute] or [float("nan")]
            numbers += [statistics.median(one), float(np.percentile(one, 99))]
        title = f"{name}, model of {busy * 1000:.0f} ms" if busy else name
        print(f"| {title} | " + " | ".join(f"{number:.1f}" for number in numbers) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=6, help="of each turn (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--busy", type=float, default=0.0, help="what the slow model takes; 0 is 5 frame times")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds; instead of turns (default: %(default)s)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.url, options.seconds, options.busy)
    from clip_camera import clip_camera

    has_gi = subprocess.run([SYSTEM_PYTHON, "-c", "import gi"], capture_output=True, check=False).returncode == 0
    names = ["ours", *(["GStreamer"] if has_gi else []), "libavformat", "OpenCV"]
    slow = options.busy or 5.3 / options.rate
    found: dict[tuple[str, float], list[float]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="emflow-bench-") as folder,
        clip_camera(Path(folder), options.size, options.rate, options.rate) as camera,
    ):
        if options.soak:
            soak([name for name in ("ours", "GStreamer") if name in names], camera, options.soak, slow)
            return 0
        for _ in range(options.turns):
            for busy in (0.0, slow):
                for name in names:
                    process = watching(name, camera, options.seconds, busy)
                    found.setdefault((name, busy), []).extend(age for _, age in ages(name, camera, process))
    print(f"{options.size}, {options.rate} frames a second, {options.turns} turns of {options.seconds:g} s each\n")
    print("| age in ms | p50 | p99 | p50, slow model | p99, slow model |\n| --- | ---: | ---: | ---: | ---: |")
    table = {}
    for name in names:
        numbers = []
        for busy in (0.0, slow):
            one = found[name, busy] or [float("nan")]
            numbers += [statistics.median(one), float(np.percentile(one, 99))]
        table[name] = numbers
        print(f"| {name} | " + " | ".join(f"{number:.1f}" for number in numbers) + " |")
    leanest = [min(table[name][place] for name in names if name != "ours") for place in range(4)]
    beyond = [mine - best for mine, best in zip(table["ours"], leanest, strict=True)]
    print(
        f"\nours beyond the leanest: p50 {beyond[0]:+.1f} ms, p99 {beyond[1]:+.1f} ms;"
        f" with a model of {slow * 1000:.0f} ms p50 {beyond[2]:+.1f} ms, p99 {beyond[3]:+.1f} ms"
        f"\ntarget: p50 within 10 ms, p99 within {1000 / options.rate:.0f} ms"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
