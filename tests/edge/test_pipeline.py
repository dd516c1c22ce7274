"""One stream's loop, with frames and an agent's answers that the test chooses, over real gRPC."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from emflow_agent.server import serving
from emflow_agent.service import AgentService
from emflow_agent.store import ModelStore
from emflow_edge.camera.newest import Newest
from emflow_edge.camera.source import Frame
from emflow_edge.counters import Counters
from emflow_edge.inference.agent_client import Agent
from emflow_edge.pipeline import Pipeline
from emflow_edge.problems import EdgeProblem
from emflow_edge.results.message import Result
from emflow_edge.settings.config import Settings
from emflow_edge.settings.streams import Stream
from emflow_proto import messages as m
from support import until

PICTURE = m.TensorMetadata(name=b"picture", data_type=m.DataType.UINT8, shape=[1, 4, 4, 3])
CLASSES = m.TensorMetadata(name=b"classes", data_type=m.DataType.FLOAT32, shape=[1, 3])
NUMBERS = (0.25, 0.5, 0.25)


class Answering(AgentService):
    """An agent whose one model answers what the test says, one answer after the other."""

    def __init__(self, answers: list[tuple[float, ...]]) -> None:
        super().__init__(ModelStore(threads=1))
        self._answers = iter(answers)

    def LoadModel(self, request: m.LoadModelRequest, context: grpc.ServicerContext) -> m.LoadModelResponse:  # noqa: N802
        model = m.Model(name=request.name, input_tensor_metadatas=[PICTURE], output_tensor_metadatas=[CLASSES])
        return m.LoadModelResponse(model=model)

    def Predict(self, request: m.PredictRequest, context: grpc.ServicerContext) -> m.PredictResponse:  # noqa: N802
        values = np.float32(next(self._answers)).tobytes()
        return m.PredictResponse(tensors=[m.Tensor(tensor_metadata=CLASSES, byte_data=values)])


class Frames:
    """A camera with a frame whenever the test puts one."""

    def __init__(self) -> None:
        self.frames: Newest[Frame] = Newest()
        self.wanted_from = 0.0

    def start(self) -> None: ...

    def join(self, timeout: float) -> bool:
        return True

    def put(self) -> None:
        self.frames.put(Frame(np.zeros((4, 4, 3), np.uint8), time.time(), time.monotonic()))


def test_answers_that_are_no_numbers_are_counted_told_once_and_not_published(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [NUMBERS, (np.nan,) * 3, (0.5, np.inf, 0.5), NUMBERS]
    socket, stop, counters, source = tmp_path / "a.sock", threading.Event(), Counters(), Frames()
    results: list[Result] = []
    problems: list[EdgeProblem] = []
    with serving(Answering(answers), socket, clean_stale_socket=False, grace=5.0):
        agent = Agent(str(socket), "net", tmp_path, stop)
        stream = Stream("front", "rtsp://camera/1", every=0.0)
        wanted = Settings("net", tmp_path, (stream,))
        pipeline = Pipeline(stream, source, wanted, "thing", agent, counters, results.append, problems.append, stop)
        pipeline.start()
        for number in range(1, len(answers) + 1):
            source.put()
            until(lambda number=number: counters.now()["inferred"] + counters.now()["failed"] == number or problems)
        stop.set()
        assert pipeline.join(10)
        agent.close()
    assert not problems
    assert (counters.now()["inferred"], counters.now()["failed"]) == (2, 2)
    assert [(result.sequence, result.top[0].index, result.top[0].confidence) for result in results] == [
        (0, 1, 0.5),
        (1, 1, 0.5),
    ]
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line for line in said if "NaN" in line] == [
        "stream front: Predict failed: 3 of the 3 values in the model's answer are NaN or infinite; trying on"
    ]
