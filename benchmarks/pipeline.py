"""How near the edge component comes to the bare model when it may go as fast as it can (`every: 0`).

Target: at least 0.95 x the bare LiteRT invoke rate with a camera that is faster than the model. Two ways to get there
are measured beside the bare invoke, in turns, with the same number of threads for the runtime:

- the loop: preprocess, Predict through the agent, decode, message, with frames that lie in memory, so that nothing but
  the loop can be what holds it up;
- the component: all of it as a process, from an RTSP camera on this machine, which takes its part of the processor for
  encoding; it can be no faster than the camera.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from ai_edge_litert.interpreter import Interpreter

from emflow_edge.cadence import Cadence
from emflow_edge.camera.frame import Frame
from emflow_edge.inference.agent_client import AgentClient
from emflow_edge.latest_slot import LatestSlot
from emflow_edge.metrics.counters import Counters
from emflow_edge.metrics.latencies import StageLatencies
from emflow_edge.model_adapter import adapt_model
from emflow_edge.pipeline import InferenceSetup, Pipeline
from emflow_edge.results.message import Result
from emflow_edge.settings.config import Settings
from emflow_schema.edge_config import Stream
from emflow_schema.units import Interval

ROOT = Path(__file__).parents[1]
SIZE = (480, 640, 3)
_SLICE = 0.5


class Bare:
    """Nothing but the runtime."""

    def __init__(self, model: Path, threads: int) -> None:
        self._interpreter = Interpreter(model_path=str(model), num_threads=threads)
        self._interpreter.allocate_tensors()
        (given,), (made,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._data = np.random.default_rng(0).integers(0, 256, given["shape"]).astype(given["dtype"])
        self._given, self._made = given["index"], made["index"]

    def rate(self, seconds: float) -> float:
        """Inferences a second."""
        number, begin = 0, time.perf_counter()
        while (now := time.perf_counter()) - begin < seconds:
            self._interpreter.set_tensor(self._given, self._data)
            self._interpreter.invoke()
            self._interpreter.get_tensor(self._made)
            number += 1
        return number / (now - begin)


class Memory(LatestSlot[Frame]):
    """A slot that has a new frame whenever one is taken, while it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self._image = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)

    def take(self, timeout: float | None = None) -> Frame:
        if not self.open.wait(timeout):
            raise TimeoutError
        return Frame(self._image, time.time(), time.monotonic())


class Still:
    """A source without a camera."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.frames: LatestSlot[Frame] = self.memory
        self.cadence = Cadence(0.0)

    def start(self) -> None:
        return

    def join(self, timeout: float) -> bool:  # noqa: ARG002 has no thread
        return True


class Looping:
    """The loop of one stream at work, with frames that lie in memory."""

    def __init__(self, folder: Path, socket: Path) -> None:
        self._stop, self._counters, self._source = threading.Event(), Counters(), Still()
        stream = Stream("memory", "", every=Interval("0s"))
        settings = Settings("loop", folder, (stream,))
        self._agent = AgentClient(str(socket), "loop", folder, self._stop)

        def emit(result: Result) -> None:
            result.message(time.time())

        def failed(problem: Exception) -> None:
            raise problem

        self._pipeline = Pipeline(
            stream, self._source, "bench", self._counters, StageLatencies(), emit, lambda: None, failed, self._stop
        )
        self._pipeline.use_setup(
            InferenceSetup(self._agent, adapt_model(self._agent.ensure_loaded(), settings), settings)
        )
        self._pipeline.start()
        self._source.memory.open.set()

    def rate(self, seconds: float) -> float:
        """Results a second; it rests before and after."""
        self._source.memory.open.set()
        time.sleep(0.1)
        before, begin = self.done, time.perf_counter()
        time.sleep(seconds)
        done, took = self.done - before, time.perf_counter() - begin
        self.rest()
        return done / took

    def rest(self) -> None:
        self._source.memory.open.clear()
        time.sleep(0.1)

    @property
    def done(self) -> int:
        """Results until now."""
        return self._counters.snapshot()["inferred"]

    def close(self) -> None:
        self._stop.set()
        self._pipeline.join(5)
        self._agent.close()


def alternating(model: Path, folder: Path, socket: Path, threads: int, seconds: float) -> list[tuple[float, float]]:
    """Inferences a second of the bare runtime and results a second of the loop, in short turns of half a second.

    Both see the same machine that way, whatever else it does.
    """
    running, bare = Looping(folder, socket), Bare(model, threads)
    try:
        running.rest()
        bare.rate(_SLICE)
        return [(bare.rate(_SLICE), running.rate(_SLICE)) for _ in range(max(1, round(seconds / _SLICE)))]
    finally:
        running.close()


def component(folder: Path, socket: Path, url: str, results: int) -> dict[str, float]:
    """What the component does as a process: its rate, the age of its frames, its processor time and memory."""
    command = ["emflow_edge", "-s", url, "-c", f"{folder}/", "-m", "component", "--agent-socket", str(socket)]
    began = time.time()
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--every", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    seen = psutil.Process(process.pid)
    try:
        lines = [process.stdout.readline()]
        first, used = time.time(), sum(seen.cpu_times()[:2])
        lines += [process.stdout.readline() for _ in range(results)]
        took, used = time.time() - first, sum(seen.cpu_times()[:2]) - used
        ages = [json.loads(line)["frame_age_ms"] for line in lines[1:]]
        memory = seen.memory_info().rss / 2**20
        process.terminate()
        counted = re.search(r"ended: (\d+) captured, .*?(\d+) inferred", process.communicate()[1])
        assert counted
        return {
            "rate": results / took,
            "camera": results / took * int(counted[1]) / int(counted[2]),
            "age p50": statistics.median(ages),
            "age p99": float(np.percentile(ages, 99)),
            "cpu": used / results * 1000,
            "memory": memory,
            "first": (first - began) * 1000,
        }
    finally:
        process.kill()
        process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT / "workflows" / "models" / "scenes.tflite"
    parser.add_argument("--model", type=Path, default=default, help="a .tflite file (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="for each measurement (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="of all measurements (default: %(default)s)")
    parser.add_argument("--fps", type=int, default=120, help="of the camera (default: %(default)s)")
    # Cameras, preprocessing and calls need a processor, too.
    spare = max(1, len(os.sched_getaffinity(0)) - 1)
    parser.add_argument("--threads", type=int, default=spare, help="of the runtime (default: %(default)s)")
    options = parser.parse_args()
    if not options.model.is_file():
        parser.error(f"there is no model {options.model}")
    python = [sys.executable, "-m"]
    with tempfile.TemporaryDirectory(prefix="emflow-bench-") as name:
        folder, socket = Path(name, "model"), Path(name, "agent.sock")
        folder.mkdir()
        shutil.copy(options.model, folder)
        agent = subprocess.Popen(
            [*python, "emflow_agent", "--socket", str(socket), "--threads", str(options.threads)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # It ends when this end of its standard input is closed.
        camera = subprocess.Popen(
            [*python, "emflow_emulator.camera", "--fps", str(options.fps), "--size", "640x480"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert camera.stdin
        assert camera.stdout
        try:
            url = json.loads(camera.stdout.readline())["url"]
            turns = [
                (
                    alternating(options.model, folder, socket, options.threads, options.seconds),
                    component(folder, socket, url, int(options.seconds * 50)),
                )
                for _ in range(options.turns)
            ]
        finally:
            for process in (camera, agent):
                process.terminate()
                process.wait()
            camera.stdin.close()
            camera.stdout.close()
    sys.stdout.write(report(options, turns))
    return 0


def report(options: argparse.Namespace, turns: list[tuple[list[tuple[float, float]], dict[str, float]]]) -> str:
    slices = [one for turn, _ in turns for one in turn]
    alone, looped = statistics.median(one for one, _ in slices), statistics.median(one for _, one in slices)
    ratio = statistics.median(two / one for one, two in slices)
    whole = {key: statistics.median(one[key] for _, one in turns) for key in turns[0][1]}
    return f"""\
{options.model.name}, {options.threads} threads, median of {options.turns} turns of {options.seconds:g} s

| | a second | x bare |
| --- | ---: | ---: |
| bare invoke | {alone:.1f} | 1 |
| the loop, frames in memory | {looped:.1f} | {ratio:.2f} |
| the component, from a camera | {whole["rate"]:.1f} | {whole["rate"] / alone:.2f} |
| frames that the camera gave it | {whole["camera"]:.1f} | {whole["camera"] / alone:.2f} |

the component: frame age when published p50 {whole["age p50"]:.1f} ms, p99 {whole["age p99"]:.1f} ms;
{whole["cpu"]:.1f} ms of processor time a result; {whole["memory"]:.0f} MiB; first result after {whole["first"]:.0f} ms
target: at least 0.95 x bare with a camera faster than the model
"""


if __name__ == "__main__":
    sys.exit(main())
