"""How soon the edge component gives its first result, and what memory it holds, with agent and camera up.

Target: the first result at most 1.5 s after the start, at most 120 MiB with one camera. Beside it, in turns, an
interpreter that does no more than import the libraries which the component cannot do without, and then sits there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
# NumPy, OpenCV, PyAV, gRPC with its messages: what frames, tensors and calls are made of.
IMPORTS = "import numpy, cv2, av, grpc, google.protobuf.message"
MIB = 2**20


def bare() -> tuple[float, float, float]:
    """Seconds until the libraries are imported, of the clock and of the processor, and MiB then."""
    code = f"{IMPORTS}, sys; print('ready', flush=True); sys.stdin.read()"
    begin = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        took, seen = time.perf_counter() - begin, psutil.Process(process.pid)
        used, memory = sum(seen.cpu_times()[:2]), seen.memory_info().rss / MIB
        process.stdin.close()
    return took, used, memory


def component(folder: Path, socket: Path, url: str, seconds: float) -> tuple[float, float, float]:
    """Seconds until the first result, of the clock and of the processor, and the most MiB until `seconds` later."""
    command = ["emflow_edge", "-s", url, "-c", f"{folder}/", "-m", "start", "--agent-socket", str(socket)]
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--every", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout
    try:
        if not process.stdout.readline():
            raise SystemExit("the component ended without a result")
        took, most, seen = time.perf_counter() - begin, 0.0, psutil.Process(process.pid)
        used, until = sum(seen.cpu_times()[:2]), time.monotonic() + seconds
        while time.monotonic() < until:
            process.stdout.readline()
            most = max(most, seen.memory_info().rss / MIB)
        return took, used, most
    finally:
        process.terminate()
        process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT / "workflows" / "models" / "scenes.tflite"
    parser.add_argument("--model", type=Path, default=default, help="a .tflite file (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=7, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="to watch the memory for (default: %(default)s)")
    parser.add_argument("--size", default="1920x1080", help="of the camera's picture (default: %(default)s)")
    parser.add_argument("--fps", type=int, default=15, help="of the camera (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="emflow-bench-") as name:
        folder, socket = Path(name, "model"), Path(name, "agent.sock")
        folder.mkdir()
        shutil.copy(options.model, folder)
        agent = subprocess.Popen(
            [sys.executable, "-m", "emflow_agent", "--socket", str(socket)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        camera = subprocess.Popen(
            [sys.executable, "-m", "emflow_emulator.camera", "--fps", str(options.fps), "--size", options.size],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert camera.stdin
        assert camera.stdout
        try:
            url = json.loads(camera.stdout.readline())["url"]
            while not socket.exists():
                time.sleep(0.05)
            turns = [(bare(), component(folder, socket, url, options.seconds)) for _ in range(options.turns)]
        finally:
            for process in (camera, agent):
                process.terminate()
                process.wait()
            camera.stdin.close()
            camera.stdout.close()
    rows = []
    for who, name in enumerate(("the libraries, imported", "the component")):
        columns = [[turn[who][what] for turn in turns] for what in range(3)]
        (took, slowest), (used, most), (held, largest) = ((statistics.median(one), max(one)) for one in columns)
        rows.append(f"| {name} | {took:.2f} ({slowest:.2f}) | {used:.2f} ({most:.2f}) | {held:.0f} ({largest:.0f}) |")
    sys.stdout.write(f"""\
camera of {options.size} at {options.fps} a second; median (worst) of {options.turns} turns

| | first result after, s | processor until then, s | MiB |
| --- | ---: | ---: | ---: |
{rows[0]}
{rows[1]}

target: at most 1.5 s and 120 MiB
""")
    return 0


if __name__ == "__main__":
    sys.exit(main())
