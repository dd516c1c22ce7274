"""An agent, over real gRPC, whose one model answers what a test says; and a source whose frames a test puts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from emflow_edge.cadence import Cadence
from emflow_edge.camera.frame import Frame
from emflow_edge.latest_slot import LatestSlot
from emflow_edge.metrics.counters import Counters
from emflow_proto import messages as m
from emflow_proto.service import add_agent_to_server

# No bytes: without emflow's own service, it would have to be configured whether they are signed.
PICTURE = m.TensorMetadata(name=b"picture", data_type=m.DataType.FLOAT32, shape=[1, 4, 4, 3])
CLASSES = m.TensorMetadata(name=b"classes", data_type=m.DataType.FLOAT32, shape=[1, 3])
NUMBERS = (0.25, 0.5, 0.25)


def brightness(picture: bytes) -> int:
    """Of the first pixel's first channel, which the model takes from -1 to 1."""
    return round(float(np.frombuffer(picture[:4], np.float32)[0]) * 127.5 + 127.5)


class ScriptedAgent:
    """AWS's calls of an agent. `answer` gets the brightness of the first pixel, and gives the model's output."""

    def __init__(self, answer: Callable[[int], tuple[float, ...]] = lambda _: NUMBERS) -> None:
        self.answer = answer
        self.loaded: set[str] = set()
        self.classes = CLASSES
        self.refuses: dict[str, grpc.StatusCode] = {}
        self.calls: list[str] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()

    def LoadModel(self, request: m.LoadModelRequest, context: grpc.ServicerContext) -> m.LoadModelResponse:  # noqa: N802
        self.calls.append(f"load {request.name}")
        if request.name in self.refuses:
            context.abort(self.refuses[request.name], "as the test says")
        if request.name in self.loaded:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "loaded")
        self.loaded.add(request.name)
        return m.LoadModelResponse(model=self._model(request.name))

    def UnLoadModel(self, request: m.UnLoadModelRequest, context: grpc.ServicerContext) -> m.UnLoadModelResponse:  # noqa: N802
        self.calls.append(f"unload {request.name}")
        self.loaded.discard(request.name)
        return m.UnLoadModelResponse()

    def DescribeModel(self, request: m.DescribeModelRequest, context: grpc.ServicerContext) -> m.DescribeModelResponse:  # noqa: N802
        return m.DescribeModelResponse(model=self._model(request.name))

    def Predict(self, request: m.PredictRequest, context: grpc.ServicerContext) -> m.PredictResponse:  # noqa: N802
        if request.name not in self.loaded:
            context.abort(grpc.StatusCode.NOT_FOUND, "not loaded")
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            values = np.array(self.answer(brightness(request.tensors[0].byte_data)), np.float32).tobytes()
        finally:
            with self._lock:
                self._at_once -= 1
        return m.PredictResponse(tensors=[m.Tensor(tensor_metadata=self.classes, byte_data=values)])

    def _unused(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "not in this test")

    ListModels = CaptureData = GetCaptureDataStatus = _unused

    def _model(self, name: str) -> m.Model:
        return m.Model(name=name, input_tensor_metadatas=[PICTURE], output_tensor_metadatas=[self.classes])


@contextmanager
def served(agent: ScriptedAgent, socket: Path) -> Iterator[None]:
    """The agent answers on a socket while the block runs."""
    socket.unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(8))
    add_agent_to_server(server, agent)
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


class ManualFrameSource:
    """A camera with a frame whenever the test puts one, counted as a source counts."""

    def __init__(self, counters: Counters, every: float = 0.0) -> None:
        self.frames: LatestSlot[Frame] = LatestSlot()
        self.cadence = Cadence(every)
        self._counters = counters
        self._number = 0

    def start(self) -> None: ...

    def join(self, timeout: float) -> bool:
        return True

    def put(self, brightness: int = 0) -> None:
        self._number += 1
        self._counters.add("captured")
        image = np.full((4, 4, 3), brightness, np.uint8)
        frame = Frame(image, time.time(), time.monotonic(), self._number)
        self._counters.add("skipped", self.frames.put(frame))
