"""An agent whose answers are no messages, too large, or swell when they are read: refused, and no memory taken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from emflow_proto import messages as m
from emflow_proto import models
from emflow_proto.limits import MAX_MESSAGE_BYTES, MAX_PARTS

# A process of its own, so that its memory is the component's alone: it loads the model and predicts once.
CLIENT = """
import sys, threading
from pathlib import Path
from emflow_edge.inference.agent_client import AgentClient, PredictFailed
from emflow_schema.errors import EdgeProblem

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

agent = AgentClient(sys.argv[1], "scenes", Path("/models"), threading.Event())
before = peak()
try:
    agent.predict(agent.ensure_loaded(), bytes(48))
except (EdgeProblem, PredictFailed) as problem:
    print(type(problem).__name__, problem)
print(peak() - before)
"""

PICTURE = m.TensorMetadata(name=b"picture", data_type=m.DataType.UINT8, shape=[1, 4, 4, 3])
CLASSES = m.TensorMetadata(name=b"classes", data_type=m.DataType.FLOAT32, shape=[1, 3])


def described(*inputs: m.TensorMetadata) -> bytes:
    model = m.Model(name="scenes", input_tensor_metadatas=inputs, output_tensor_metadatas=[CLASSES])
    return m.LoadModelResponse(model=model).SerializeToString()


class Raw(grpc.GenericRpcHandler):
    """Answers each call with the bytes of a test."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._answers = answers

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        call = details.method.rpartition("/")[2]
        answer = self._answers.get(call)
        if answer is None:
            return None
        if call == "Use":
            return grpc.unary_stream_rpc_method_handler(lambda _request, _context: iter([answer, answer]))
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer)


@contextmanager
def answering(socket: Path, **answers: bytes) -> Iterator[None]:
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((Raw({"LoadModel": described(PICTURE), "UnLoadModel": b"", **answers}),))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


def outcome(socket: Path) -> tuple[str, int]:
    """What the component says, and by how many bytes its memory grew at most."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(socket)], capture_output=True, text=True, timeout=120, check=True
    )
    assert "Traceback" not in done.stderr
    said, grown = done.stdout.splitlines()
    return said, int(grown) << 10


COLLECTS_FIRST = tuple(map(int, grpc.__version__.split(".")[:2])) <= (1, 80)
"""Whether gRPC collects a message that is too large before it refuses it: seen with 1.80.1, not with 1.85.3."""

LARGE = MAX_MESSAGE_BYTES - 1000
WRONG = {
    "no message": (b"\xff\xff\xff", "is no message of the interface"),
    "many tensors": (b"\x0a\x00" * (LARGE // 2), f"or has more than {MAX_PARTS} parts"),
    "a longer answer": (bytes(5 * MAX_MESSAGE_BYTES), f"has more than {MAX_MESSAGE_BYTES} bytes"),
}


@pytest.mark.parametrize("call", ["LoadModel", "Predict", "Use"])
@pytest.mark.parametrize("what", list(WRONG))
def test_an_answer_that_cannot_be_one_costs_a_sentence_and_no_memory(tmp_path: Path, what: str, call: str) -> None:
    answer, words = WRONG[what]
    with answering(tmp_path / "a.sock", **{call: answer}):
        said, grown = outcome(tmp_path / "a.sock")
    assert said.startswith("PredictFailed" if call == "Predict" else "EdgeProblem")
    assert words in said
    # The bytes themselves, at most MAX_MESSAGE_BYTES, are there two or three times for a moment.
    if not (what == "a longer answer" and COLLECTS_FIRST):
        assert grown < 3 * MAX_MESSAGE_BYTES + (40 << 20)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([m.TensorMetadata(shape=[1, 100_000, 100_000, 3])], "takes 30000000000 bytes, more than the"),
        ([m.TensorMetadata(shape=[1] * 33)], "the agent describes more than"),
        ([PICTURE] * 1001, "the agent describes more than"),
    ],
    ids=["a large input", "many dimensions", "many tensors"],
)
def test_a_description_that_cannot_be_a_model_s_is_refused(
    tmp_path: Path, inputs: list[m.TensorMetadata], words: str
) -> None:
    with answering(tmp_path / "a.sock", LoadModel=described(*inputs)):
        said, grown = outcome(tmp_path / "a.sock")
    assert said.startswith("EdgeProblem model scenes: ")
    assert words in said
    assert grown < 40 << 20


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        ({"type": "complex64", "shape": [1, 4, 4, 3]}, "the agent reports a tensor of unknown type 'complex64'"),
        ({"type": "UINT8", "shape": [1, 4, 4, 3]}, "the agent reports a tensor of unknown type 'UINT8'"),
        (
            {"type": "int8", "shape": [1, 4, 4, 3], "scale": float("nan")},
            "the agent reports a tensor with a scale of nan",
        ),
        ({"type": "float32", "shape": [1, 100_000, 100_000, 3]}, "takes 120000000000 bytes, more than the"),
        ({"type": "float32", "shape": [1] * 33}, "the agent describes more than"),
    ],
    ids=["another type", "capitals", "no scale", "a large input", "many dimensions"],
)
def test_a_use_of_what_can_be_no_model_is_refused(tmp_path: Path, tensor: dict[str, Any], words: str) -> None:
    output = models.Tensor(name=b"classes", type="float32", shape=[1, 3])
    model = models.Model(name="scenes", handle=5, inputs=[models.Tensor(name=b"x", **tensor)], outputs=[output])
    with answering(tmp_path / "a.sock", Use=models.UseResponse(use=1, model=model).SerializeToString()):
        said, grown = outcome(tmp_path / "a.sock")
    assert said.startswith("EdgeProblem ")
    assert words in said
    assert grown < 40 << 20


def test_no_channel_to_an_agent_takes_answers_of_any_size() -> None:
    sources = Path(__file__).parents[3] / "edge_component"
    for source in sources.rglob("*.py"):
        assert '"grpc.max_receive_message_length", -1' not in source.read_text(), source
