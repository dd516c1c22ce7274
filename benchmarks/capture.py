"""What capturing costs predictions: Predict while every prediction is captured too, beside Predict alone.

Target: p50 with capture at most 1.1 x that without. Captures go to disk, by a thread of the same client, as the edge
component does it; what the agent refuses because its buffer is full is counted. Both take turns in blocks, so that
whatever else the machine does hits both.
"""

from __future__ import annotations

import argparse
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import grpc
import numpy as np

from emflow_proto import messages as m
from emflow_proto.service import AgentStub

ROOT = Path(__file__).parents[1]
SIZE = 224 * 224 * 3
BLOCK, WARM_UP = 50, 5


class Captures:
    """Sends captures from a thread of its own."""

    def __init__(self, stub: AgentStub) -> None:
        self.taken: list[float] = []
        self.refused = 0
        self._stub = stub
        self._due: queue.Queue[list[m.Tensor] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def put(self, tensors: list[m.Tensor]) -> None:
        self._due.put(tensors)

    def close(self) -> None:
        self._due.put(None)
        self._thread.join()

    def wait(self) -> None:
        while not self._due.empty():
            time.sleep(0.01)

    def _run(self) -> None:
        while tensors := self._due.get():
            request = m.CaptureDataRequest(
                model_name="bench", capture_id=str(uuid.uuid4()), input_tensors=tensors[:1], output_tensors=tensors[1:]
            )
            started = time.perf_counter()
            try:
                self._stub.CaptureData(request)
                self.taken.append((time.perf_counter() - started) * 1000)
            except grpc.RpcError:
                self.refused += 1


def measure(stub: AgentStub, captures: Captures, number: int, pause: float) -> dict[str, np.ndarray]:
    """Milliseconds of Predict, without and with capture. pause: seconds between two, as a camera makes them."""
    tensor = m.Tensor(byte_data=np.random.default_rng(0).integers(0, 256, SIZE, np.uint8).tobytes())
    request = m.PredictRequest(name="bench", tensors=[tensor])
    taken: dict[str, list[float]] = {"Predict": [], "Predict, each captured": []}
    while len(taken["Predict"]) < number:
        for name, times in taken.items():
            for turn in range(WARM_UP + BLOCK):
                started = time.perf_counter()
                answer = stub.Predict(request)
                if turn >= WARM_UP:
                    times.append((time.perf_counter() - started) * 1000)
                if name != "Predict":
                    captures.put([tensor, *answer.tensors])
                time.sleep(pause)
            captures.wait()
    return {name: np.array(times) for name, times in taken.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=1000, help="predictions of each kind (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="predictions a second at most (default: %(default)s)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="b-"))
    (folder / "model").mkdir()
    shutil.copy(ROOT / "workflows" / "models" / "scenes.tflite", folder / "model")
    settings = {
        "DeviceFleetName": "bench",
        "CaptureDataDestination": "Disk",
        "CaptureDataDiskPath": str(folder / "disk"),
    }
    said = [f"--set={key}={value}" for key, value in settings.items()]
    agent = subprocess.Popen(
        [sys.executable, "-m", "emflow_agent", "--socket", str(folder / "a.sock"), *said], stdout=subprocess.DEVNULL
    )
    try:
        with grpc.insecure_channel(f"unix:{folder / 'a.sock'}") as channel:
            stub = AgentStub(channel)
            request = m.LoadModelRequest(url=str(folder / "model"), name="bench")
            stub.LoadModel(request, wait_for_ready=True, timeout=60)
            captures = Captures(stub)
            taken = measure(stub, captures, options.n, 1 / options.rate)
            captures.close()
    finally:
        agent.terminate()
        agent.wait()
        shutil.rmtree(folder)
    calls = {**taken, "CaptureData": np.array(captures.taken)}
    rows = [f"| {name} | {np.percentile(t, 50):.3f} | {np.percentile(t, 99):.3f} |" for name, t in calls.items()]
    sys.stdout.write("\n".join(["| ms | p50 | p99 |", "| --- | ---: | ---: |", *rows]) + "\n\n")
    alone, captured = (float(np.percentile(times, 50)) for times in taken.values())
    sys.stdout.write(f"p50 with capture {captured / alone:.2f} x without; {captures.refused} captures refused\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
