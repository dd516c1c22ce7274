"""Models of int8 that AWS's interface calls uint8: fed and read as what they are, or refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.runtimes.conftest import build
from edge.signed_models import CLASSES, SIDE, write_compiled_model, write_signed_model
from emflow_agent.calls.models_service import ModelsService
from emflow_agent.calls.server import serving
from emflow_agent.calls.service import AgentService
from emflow_agent.models.loading import load_folder
from emflow_agent.models.store import ModelStore
from emflow_agent.runtimes import RuntimeOptions
from emflow_edge.inference.agent_client import AgentClient
from emflow_edge.model_adapter import ModelAdapter, adapt_model
from emflow_edge.model_spec import ModelSpec, TensorSpec
from emflow_edge.settings.config import Settings
from emflow_schema.edge_config import ModelIO, Stream
from emflow_schema.errors import EdgeProblem
from emflow_schema.model_reader import model_facts

Write = Callable[[Path], None]
Connect = Callable[..., tuple[AgentClient, ModelAdapter]]

PICTURES = np.random.default_rng(11).integers(0, 256, (1000, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Writes a model as Neo leaves it."""
    library = build("dlr_int8.c", tmp_path_factory.mktemp("dlr") / "libdlr.so")
    return lambda folder: write_compiled_model(folder, library)


@pytest.fixture(params=["onnx", "neo"])
def write(request: pytest.FixtureRequest, compiled: Write) -> Write:
    """Writes a model into a folder."""
    return write_signed_model if request.param == "onnx" else compiled


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Have an agent load `model`, and adapt a client to it."""
    with ExitStack() as opened:

        def make(folder: Path, *, service: bool, beside: Path | None = None, **model_io: Any) -> Any:
            store = ModelStore(threads=1)
            models = ModelsService(store) if service else None
            opened.enter_context(
                serving(AgentService(store), tmp_path / "a.sock", False, grace=5.0, models_service=models)
            )
            client = AgentClient(str(tmp_path / "a.sock"), "net", folder, threading.Event())
            opened.callback(client.close)
            io = ModelIO(**{"color": "bgr", "top_k": CLASSES, **model_io})
            settings = Settings("net", beside or folder, (Stream("front", "rtsp://camera/1"),), io)
            return client, adapt_model(client.ensure_loaded(), settings)

        yield make


def best(client: AgentClient, adapter: ModelAdapter, picture: np.ndarray) -> int:
    prediction = client.predict(adapter.model, adapter.preprocess(picture))
    return adapter.outcome([tensor.byte_data for tensor in prediction.outputs], picture).top[0].index


def expected(folder: Path) -> list[int]:
    """The best class of each picture, of the runtime alone."""
    model = load_folder(str(folder), RuntimeOptions(), probe=False).model
    signed = (PICTURES.astype(np.int16) - 128).astype(np.int8)
    return [int(model.run([picture[np.newaxis]])[0].argmax()) for picture in signed]


@pytest.mark.parametrize("confidence", ["probability", "workshop"])
@pytest.mark.parametrize("readable", [True, False], ids=["file that can be read", "folder that cannot be read"])
def test_the_best_class_of_1000_pictures_is_that_of_the_runtime(
    connect: Connect, write: Write, tmp_path: Path, readable: bool, confidence: str
) -> None:
    folder = tmp_path / "model"
    write(folder)
    beside = None if readable else tmp_path / "nothing"
    client, adapter = connect(folder, service=True, beside=beside, confidence=confidence)
    assert [best(client, adapter, picture) for picture in PICTURES] == expected(folder)


def test_a_file_beside_the_model_tells_its_type_where_the_agent_does_not(connect: Connect, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_signed_model(folder)
    client, adapter = connect(folder, service=False)
    wanted = expected(folder)
    assert [best(client, adapter, picture) for picture in PICTURES[:200]] == wanted[:200]


def test_the_configuration_tells_the_type_where_nothing_else_does(
    connect: Connect, compiled: Write, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    compiled(folder)
    client, adapter = connect(folder, service=False, byte_type="int8")
    wanted = expected(folder)
    assert [best(client, adapter, picture) for picture in PICTURES[:200]] == wanted[:200]


@pytest.mark.parametrize("byte_type", ["uint8", "int8", "uint8,int8", "int8,uint8"])
def test_input_and_outputs_may_be_bytes_of_different_types(tmp_path: Path, byte_type: str) -> None:
    of_input, of_output = byte_type.split(",")[0], byte_type.split(",")[-1]
    model = ModelSpec("net", TensorSpec(b"x", "uint8", (1, 2, 2, 3)), (TensorSpec(b"y", "uint8", (1, 3)),))
    io = ModelIO(byte_type=byte_type)  # type: ignore[arg-type]
    adapter = adapt_model(model, Settings("net", tmp_path, (Stream("front", "rtsp://camera/1"),), io))
    black = np.zeros((2, 2, 3), np.uint8)
    assert adapter.preprocess(black) == np.full(12, -128 if of_input == "int8" else 0, of_input).tobytes()
    # The largest value is the first of these bytes as int8, and the second as uint8.
    assert adapter.outcome([bytes([127, 128, 0])], black).top[0].index == (0 if of_output == "int8" else 1)


def test_a_model_of_bytes_whose_sign_nothing_tells_is_refused(
    connect: Connect, compiled: Write, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    compiled(folder)
    with pytest.raises(EdgeProblem) as caught:
        connect(folder, service=False)
    assert str(caught.value) == (
        "model net: its bytes may be uint8 or int8, which the agent's interface does not tell, and there is no model "
        f"file in {folder} that does; set modelIO.byteType (edge.model_io.byte_type in a workflow), or use emflow's "
        "agent"
    )


def test_scale_and_zero_point_reach_the_component(connect: Connect, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_signed_model(folder, scale=0.25, zero_point=7)
    client, adapter = connect(folder, service=True, beside=tmp_path / "nothing", activation="none")
    content = client.ensure_loaded().content
    assert content is not None
    assert [(one.dtype, one.scale, one.zero_point) for one in (*content.inputs, *content.outputs)] == [
        ("int8", 1.0, -128),
        ("int8", 0.25, 7),
    ]
    values = np.array([7, 9, 11, *[-100] * (CLASSES - 3)], np.int8)
    (first, second, third, *_) = adapter.outcome([values.tobytes()], PICTURES[0]).top
    assert [(one.index, one.confidence) for one in (first, second, third)] == [(2, 1.0), (1, 0.5), (0, 0.0)]
    facts = model_facts(folder)
    assert facts is not None
    assert (facts.inputs[0].scale, facts.outputs[0].scale, facts.outputs[0].zero_point) == (1.0, 0.25, 7)
