"""What the agent adds to an inference: Predict over its socket, beside the bare runtime and beside an empty call.

Targets: p50 at most the bare LiteRT invoke + 1.2 x an empty call (ListModels) over the same socket; p99 at most 1.5 x
that p50; four clients at once, each a process, at least 0.95 of the bare invoke's rate. All take turns in short blocks,
so that whatever else the machine does hits all of them, and runtime and agent get the same threads: one less than there
are processors, because clients that find none left take their time from the inference.

An empty call is measured twice: one after another, and each after a pause as long as an inference. A Predict waits for
so long before its answer, and processors that rest wake up slowly: the client's does in both, the agent's in the paused
call only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from emflow_proto import messages as m
from emflow_proto.service import AgentStub
from emflow_proto.shared_memory import SharedBuffer

ROOT = Path(__file__).parents[1]
CLIENTS = 4
TURN = 2.0  # seconds for which the rates are measured at a time
BLOCK = 20
WARM_UP = 5  # of each block, not counted: caches and clock of the one before


def bare(model: Path, threads: int) -> tuple[bytes, Callable[[], object]]:
    """An input for the model, and one inference with it by nothing but the runtime: bytes in, bytes out."""
    interpreter = Interpreter(model_path=str(model), num_threads=threads)
    interpreter.allocate_tensors()
    (given,), outputs = interpreter.get_input_details(), interpreter.get_output_details()
    # Noise over the whole range of the type: zeros would be kinder to float kernels than pictures are.
    size = int(np.prod(given["shape"])) * np.dtype(given["dtype"]).itemsize
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    if np.issubdtype(given["dtype"], np.floating):
        data = np.random.default_rng(0).random(given["shape"]).astype(given["dtype"])
    sent = data.tobytes()

    def run() -> list[bytes]:
        interpreter.set_tensor(given["index"], np.frombuffer(sent, given["dtype"]).reshape(given["shape"]))
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"]).tobytes() for output in outputs]

    return sent, run


def predict_shared(stub: AgentStub, buffer: SharedBuffer, sent: bytes) -> m.PredictResponse:
    buffer.view[:] = sent
    tensor = m.Tensor(shared_memory_handle=buffer.handle)
    return stub.Predict(m.PredictRequest(name="bench", tensors=[tensor]))


def measure(calls: dict[str, Callable[[], object]], number: int, pauses: dict[str, float]) -> dict[str, np.ndarray]:
    """Milliseconds of `number` calls of each, without the seconds that some of them pause before."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    while len(taken[next(iter(calls))]) < number:
        for name, call in calls.items():
            for turn in range(WARM_UP + BLOCK):
                time.sleep(pauses.get(name, 0.0))
                started = time.perf_counter()
                call()
                if turn >= WARM_UP:
                    taken[name].append((time.perf_counter() - started) * 1000)
    return {name: np.array(times) for name, times in taken.items()}


def rate(call: Callable[[], object], seconds: float) -> float:
    """Calls a second, one after another."""
    count, started = 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        call()
        count += 1
    return count / (time.perf_counter() - started)


def client(address: str, model: Path) -> int:
    """One of several clients, a process: for each line on standard input, a turn of Predict; how many came back."""
    sent, _ = bare(model, 1)
    request = m.PredictRequest(name="bench", tensors=[m.Tensor(byte_data=sent)])
    with grpc.insecure_channel(f"unix:{address}") as channel:
        stub = AgentStub(channel)
        stub.Predict(request, wait_for_ready=True)
        for _ in sys.stdin:
            sys.stdout.write(f"{rate(lambda: stub.Predict(request), TURN):.1f}\n")
            sys.stdout.flush()
    return 0


def rates(address: Path, model: Path, invoke: Callable[[], object], turns: int) -> tuple[float, float]:
    """Medians of the bare invoke's rate and of what several clients get together, turn by turn."""
    command = [sys.executable, __file__, "--model", str(model), "--client", str(address)]
    clients = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(CLIENTS)
    ]
    bare_rates, together = [], []
    for turn in range(turns + 1):
        alone = rate(invoke, TURN)
        for each in clients:
            assert each.stdin
            each.stdin.write("go\n")
            each.stdin.flush()
        all_of_them = sum(float(each.stdout.readline()) for each in clients if each.stdout)
        if turn:  # the first lets everybody start
            bare_rates.append(alone)
            together.append(all_of_them)
    for each in clients:
        assert each.stdin
        each.stdin.close()
        each.wait()
    return float(np.median(bare_rates)), float(np.median(together))


def table(taken: dict[str, np.ndarray]) -> str:
    p50 = {name: float(np.percentile(times, 50)) for name, times in taken.items()}
    p99 = {name: float(np.percentile(times, 99)) for name, times in taken.items()}
    invoke, empty, paused = list(p50.values())[:3]
    allowed = invoke + 1.2 * empty
    return "\n".join(
        [
            "| ms | p50 | p99 |",
            "| --- | ---: | ---: |",
            *(f"| {name} | {p50[name]:.3f} | {p99[name]:.3f} |" for name in taken),
            "",
            f"target: at most {allowed:.3f} ms at p50, p99 at most 1.5 x p50",
            *(
                f"{name}: adds {(p50[name] - invoke):.3f} ms, {(p50[name] - invoke) / empty:.2f} x an empty call; "
                f"{(p50[name] - invoke) / paused:.2f} x one after a pause; "
                f"p99 {p99[name] / p50[name]:.2f} x p50 (bare: {p99[next(iter(taken))] / invoke:.2f} x)"
                for name in list(taken)[3:]
            ),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT / "workflows" / "models" / "scenes.tflite"
    parser.add_argument("--model", type=Path, default=default, help="a .tflite file (default: %(default)s)")
    parser.add_argument("-n", type=int, default=1000, help="calls of each kind (default: %(default)s)")
    spare = max(1, len(os.sched_getaffinity(0)) - 1)
    parser.add_argument("--threads", type=int, default=spare, help="of the runtime (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="of the rates (default: %(default)s)")
    parser.add_argument("--client", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        return client(options.client, options.model)
    if not options.model.is_file():
        parser.error(f"there is no model {options.model}")
    with tempfile.TemporaryDirectory(prefix="emflow-bench-") as folder:
        shutil.copy(options.model, folder)
        address = Path(folder, "agent.sock")
        command = [sys.executable, "-m", "emflow_agent", "--socket", str(address), "--threads", str(options.threads)]
        agent = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
            with grpc.insecure_channel(f"unix:{address}", options=limits) as channel:
                stub = AgentStub(channel)
                stub.LoadModel(m.LoadModelRequest(url=folder, name="bench"), wait_for_ready=True, timeout=60)
                sent, invoke = bare(options.model, options.threads)
                buffer = SharedBuffer(len(sent))
                request = m.PredictRequest(name="bench", tensors=[m.Tensor(byte_data=sent)])
                paused = "empty call after a pause"
                calls = {
                    "bare invoke": invoke,
                    "empty call (ListModels)": lambda: stub.ListModels(m.ListModelsRequest()),
                    paused: lambda: stub.ListModels(m.ListModelsRequest()),
                    f"Predict, {len(sent)} bytes in the message": lambda: stub.Predict(request),
                    "Predict, by shared memory": lambda: predict_shared(stub, buffer, sent),
                }
                alone_ms = measure({"bare": invoke}, 100, {})["bare"]
                taken = measure(calls, options.n, {paused: float(np.median(alone_ms)) / 1000})
                alone, together = rates(address, options.model, invoke, options.turns)
        finally:
            agent.terminate()
            agent.wait()
    sys.stdout.write(
        f"{options.model.name}, runtime's threads: {options.threads}, {options.n} calls each\n\n{table(taken)}\n\n"
    )
    sys.stdout.write(
        f"{CLIENTS} clients at once: {together:.1f} a second, bare invoke {alone:.1f}: {together / alone:.2f} x "
        "(target: at least 0.95 x)\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
