"""Whether the edge component's memory stays flat: over many predictions, and over many reconnects of its camera.

Target: no growth. It is judged by the slope of a robust line (Theil-Sen: the median slope between all pairs of points)
through the resident memory, past a warm-up in which allocators and pools fill up, times the whole length of the run;
beside it stands what the memory does from point to point anyway.

- predictions: the loop of one stream with frames that lie in memory, in a process of its own, through a real agent;
- reconnects: the component as a process, and its camera behind a relay that hangs up as soon as a result came through.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import combinations, pairwise
from pathlib import Path

import pipeline
import psutil
from relay import Relay

KIB = 1024
POINTS = 60
WARM_UP = 0.2


def predictions(folder: Path, socket: Path, number: int) -> list[tuple[float, float]]:
    """Resident KiB of a process after so many predictions."""
    command = [sys.executable, __file__, "--child", str(folder), str(socket), "--predictions", str(number)]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return [(float(done), float(held)) for done, held in map(str.split, lines)]


def child(folder: Path, socket: Path, number: int) -> None:
    """What `predictions` runs: the loop, and a line of predictions and KiB every so often."""
    seen, running = psutil.Process(), pipeline.Looping(folder, socket)
    for point in range(1, POINTS + 1):
        while running.done < point * number // POINTS:
            time.sleep(0.01)
        sys.stdout.write(f"{running.done} {seen.memory_info().rss / KIB}\n")
    running.close()


def reconnects(folder: Path, socket: Path, url: str, number: int) -> list[tuple[float, float]]:
    """Resident KiB of the component after so many reconnects."""
    host, _, rest = url.partition("://")[2].partition("/")
    with Relay(*host.split(":")) as relay:
        command = ["emflow_edge", "-s", f"rtsp://127.0.0.1:{relay.port}/{rest}", "-c", f"{folder}/", "-m", "memory"]
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--agent-socket", str(socket), "--every", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout
        seen, points = psutil.Process(process.pid), []
        try:
            for done in range(number):
                relay.hang_up()
                # Results that were made before it hung up come first.
                cut = time.time()
                while time.time() - cut < 60:
                    line = process.stdout.readline()
                    if not line:
                        raise SystemExit("the component ended")
                    if json.loads(line)["frame_age_ms"] / 1000 < time.time() - cut and relay.connections:
                        break
                if done % max(1, number // POINTS) == 0:
                    points.append((float(done), seen.memory_info().rss / KIB))
            return points
        finally:
            process.terminate()
            process.communicate()


def row(name: str, points: list[tuple[float, float]], length: int) -> str:
    kept = [point for point in points if point[0] >= WARM_UP * length]
    slope = statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(kept, 2) if b[0] > a[0])
    held = [value for _, value in kept]
    noise = statistics.median(abs(b - a) for a, b in pairwise(held))
    return (
        f"| {length} {name} | {statistics.median(held) / KIB:.1f} | {slope * length / KIB:+.2f} | "
        f"{(held[-1] - held[0]) / KIB:+.2f} | {noise / KIB:.2f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = pipeline.ROOT / "workflows" / "models" / "scenes.tflite"
    parser.add_argument("--model", type=Path, default=default, help="a .tflite file (default: %(default)s)")
    parser.add_argument("--predictions", type=int, default=100_000, help="(default: %(default)s)")
    parser.add_argument("--reconnects", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        folder, socket = options.child
        child(folder, socket, options.predictions)
        return 0
    python = [sys.executable, "-m"]
    rows = []
    with tempfile.TemporaryDirectory(prefix="emflow-bench-") as name:
        folder, socket = Path(name, "model"), Path(name, "agent.sock")
        folder.mkdir()
        shutil.copy(options.model, folder)
        agent = subprocess.Popen(
            [*python, "emflow_agent", "--socket", str(socket), "--threads", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        camera = subprocess.Popen(
            [*python, "emflow_emulator.camera"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert camera.stdin
        assert camera.stdout
        try:
            url = json.loads(camera.stdout.readline())["url"]
            if options.predictions:
                rows.append(row("predictions", predictions(folder, socket, options.predictions), options.predictions))
            if options.reconnects:
                rows.append(row("reconnects", reconnects(folder, socket, url, options.reconnects), options.reconnects))
        finally:
            for process in (camera, agent):
                process.terminate()
                process.wait()
            camera.stdin.close()
            camera.stdout.close()
    sys.stdout.write(
        "| MiB after | resident, median | slope x length | last - first | point to point |\n"
        "| --- | ---: | ---: | ---: | ---: |\n" + "\n".join(rows) + "\n\ntarget: no growth\n"
    )
    return 0


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    sys.exit(main())
