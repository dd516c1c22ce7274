"""ONNX models: what they look like to clients, what cannot be loaded, and which execution provider took them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from agent.runtimes.conversion import scenes_as_onnx
from emflow_agent.errors import CannotLoad, InferenceFailed
from emflow_agent.models.loading import LoadedFiles
from emflow_agent.runtimes.options import Provider
from emflow_proto import messages as m
from emflow_proto.service import AgentStub

Open = Callable[..., LoadedFiles]

FLOAT = TensorProto.FLOAT
NEWER = pytest.mark.skipif(
    not hasattr(InferenceSession, "get_provider_graph_assignment_info"),
    reason="this ONNX Runtime counts no nodes and adds no uint32, such as the last one for Python 3.9",
)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """A folder with a model of these nodes, inputs and outputs."""

    def make(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any] | None = None) -> Path:
        graph = helper.make_graph(nodes, "net", inputs, outputs, weights or [])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        folder = tmp_path / "onnx"
        folder.mkdir(exist_ok=True)
        onnx.save(model, folder / "net.onnx")
        return folder

    return make


def value(name: str, shape: list[Any] | None, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.fixture
def doubling(saved: Callable[..., Path]) -> Callable[..., Path]:
    """A folder with a model that adds its input to itself."""

    def make(shape: list[Any], kind: int = FLOAT) -> Path:
        return saved([helper.make_node("Add", ["x", "x"], ["y"])], [value("x", shape, kind)], [value("y", shape, kind)])

    return make


def test_the_repositorys_model_says_the_same_as_onnx(
    opened: Open, folder: Path, scenes_model: Path, tmp_path: Path, picture: np.ndarray
) -> None:
    from emflow_emulator.camera import scenes

    there = tmp_path / "onnx"
    there.mkdir()
    onnx.save(scenes_as_onnx(scenes_model), there / "scenes.onnx")
    one, other = opened(folder).model, opened(there, probe=True).model
    assert [one.inputs[0].shape, one.inputs[0].dtype] == [other.inputs[0].shape, other.inputs[0].dtype]
    assert [one.outputs[0].shape, one.outputs[0].dtype] == [other.outputs[0].shape, other.outputs[0].dtype]
    for scene in scenes.SCENES:
        drawn = scenes.moving(scene, 1.0, 224, 224, 2.0)[None].copy()
        (first,), (second,) = one.run([drawn]), other.run([drawn])
        assert scenes.SCENES[int(first.argmax())] == scenes.SCENES[int(second.argmax())] == scene
        assert np.abs(first.astype(int) - second).max() <= 16


def test_several_inputs_and_outputs_keep_their_names_types_and_order(opened: Open, saved: Callable[..., Path]) -> None:
    nodes = [helper.make_node("Sub", ["b", "a"], ["minus"]), helper.make_node("ArgMax", ["b"], ["best"], axis=1)]
    inputs = [value("b", [1, 3]), value("a", [1, 3])]
    folder = saved(nodes, inputs, [value("best", [1, 1], TensorProto.INT64), value("minus", [1, 3])])
    model = opened(folder).model
    assert [str(one) for one in model.inputs] == ["'b' (FLOAT32 [1, 3])", "'a' (FLOAT32 [1, 3])"]
    assert [str(one) for one in model.outputs] == ["'best' (INT64 [1, 1])", "'minus' (FLOAT32 [1, 3])"]
    best, minus = model.run([np.array([[1, 5, 2]], np.float32), np.array([[1, 1, 1]], np.float32)])
    assert best.tolist() == [[1]]
    assert minus.tolist() == [[0, 4, 1]]


@pytest.mark.parametrize("batch", ["batch", None, 1])
def test_a_batch_size_that_is_left_open_is_one(opened: Open, doubling: Callable[..., Path], batch: object) -> None:
    model = opened(doubling([batch, 4])).model
    assert model.inputs[0].shape == model.outputs[0].shape == (1, 4)
    assert model.run([np.array([[1, 2, 3, 4]], np.float32)])[0].tolist() == [[2, 4, 6, 8]]


def test_other_sizes_that_are_left_open_are_refused(opened: Open, doubling: Callable[..., Path]) -> None:
    with pytest.raises(CannotLoad, match=r"input 'x' has open sizes: \[1, 3, \?, \?\]; export the model with fixed"):
        opened(doubling(["n", 3, "height", "width"]))


def test_an_output_whose_size_follows_from_the_data_has_no_size(opened: Open, saved: Callable[..., Path]) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["found"])]
    model = opened(saved(nodes, [value("x", [1, 4])], [value("found", [2, "n"], TensorProto.INT64)])).model
    assert model.outputs[0].shape == (2, -1)
    assert model.run([np.array([[0, 1, 0, 1]], np.float32)])[0].tolist() == [[0, 0], [1, 3]]


@NEWER
def test_elements_that_clients_cannot_send_are_refused(opened: Open, doubling: Callable[..., Path]) -> None:
    with pytest.raises(CannotLoad, match=r"tensor 'x' has elements of type tensor\(uint32\)"):
        opened(doubling([1, 2], TensorProto.UINT32))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(TensorProto.FLOAT16, np.float16), (TensorProto.DOUBLE, np.float64), (TensorProto.INT64, np.int64)],
)
def test_other_elements_pass(opened: Open, doubling: Callable[..., Path], kind: int, dtype: type) -> None:
    (out,) = opened(doubling([1, 2], kind)).model.run([np.array([[1, 2]], dtype)])
    assert out.dtype == dtype
    assert out.tolist() == [[2, 4]]


def test_weights_outside_the_file_are_not_read_wherever_they_lie(
    opened: Open, saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = numpy_helper.from_array(np.full(256, 3.0, np.float32), "w")
    (tmp_path / "secret.bin").write_bytes(weight.raw_data)
    monkeypatch.chdir(tmp_path)
    onnx.external_data_helper.set_external_data(weight, "secret.bin")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    folder = saved(nodes, [value("x", [256])], [value("y", [256])], [weight])
    (folder / "secret.bin").write_bytes(bytes(1024))
    with pytest.raises(CannotLoad, match=r"secret\.bin|may be in other files"):
        opened(folder)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.99])
def test_half_a_download_is_refused(opened: Open, scenes_model: Path, tmp_path: Path, part: float) -> None:
    whole = scenes_as_onnx(scenes_model).SerializeToString()
    (tmp_path / "net.onnx").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(CannotLoad) as caught:
        opened(tmp_path, probe=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_never_reach_the_agent_as_a_crash(
    opened: Open, scenes_model: Path, tmp_path: Path, seed: int
) -> None:
    content = bytearray(scenes_as_onnx(scenes_model).SerializeToString())
    random = np.random.default_rng(seed)
    for at in random.integers(0, 3000, 20):
        content[at] ^= int(random.integers(1, 256))
    (tmp_path / "net.onnx").write_bytes(content)
    try:
        model = opened(tmp_path, probe=True).model
    except CannotLoad:
        return
    assert len(model.run([np.zeros(one.shape, one.dtype) for one in model.inputs])) == len(model.outputs)


def test_tensors_of_the_wrong_kind_are_a_failed_run(opened: Open, doubling: Callable[..., Path]) -> None:
    model = opened(doubling([1, 4])).model
    for wrong in (np.zeros((1, 4), np.uint8), np.zeros((1, 5), np.float32)):
        with pytest.raises(InferenceFailed):
            model.run([wrong])


def test_an_output_as_long_as_what_was_found_reaches_clients_with_its_own_shape(
    stub: AgentStub, saved: Callable[..., Path]
) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["found"])]
    folder = saved(nodes, [value("x", [1, 4])], [value("found", [2, "n"], TensorProto.INT64)])
    stub.LoadModel(m.LoadModelRequest(url=str(folder), name="finder"))
    tensor = m.Tensor(byte_data=np.array([[0, 1, 0, 1]], np.float32).tobytes())
    (found,) = stub.Predict(m.PredictRequest(name="finder", tensors=[tensor])).tensors
    assert list(found.tensor_metadata.shape) == [2, 2]
    assert np.frombuffer(found.byte_data, np.int64).tolist() == [0, 0, 1, 3]


def test_an_older_package_tells_by_its_profile_what_ran_where(
    opened: Open,
    doubling: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delattr(InferenceSession.__base__, "get_provider_graph_assignment_info", raising=False)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    folder = doubling([1, 4])
    assert opened(folder).placement.nodes is None
    placement = opened(folder, providers=(Provider("AzureExecutionProvider"),)).placement
    assert (placement.accelerator, placement.instead_of) == ("CPU", "Azure")
    assert "AzureExecutionProvider took 0 of 1 nodes" in caplog.text
    assert [file for file in tmp_path.iterdir() if file not in before] == [folder]


@NEWER
def test_the_cpu_is_counted_when_nothing_else_is_asked_for(opened: Open, doubling: Callable[..., Path]) -> None:
    placement = opened(doubling([1, 4])).placement
    assert (placement.accelerator, placement.taken, placement.nodes) == ("CPU", 1, 1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("VSINPUExecutionProvider", "VSINPUExecutionProvider is not part of this ONNX Runtime"),
        ("AzureExecutionProvider", "AzureExecutionProvider took 0 of 1 nodes"),
    ],
    ids=["one that cannot be reached", "one that takes nothing"],
)
def test_a_provider_that_runs_nothing_is_reported_and_never_assumed(
    opened: Open, doubling: Callable[..., Path], caplog: pytest.LogCaptureFixture, name: str, reason: str
) -> None:
    folder = doubling([1, 4])
    placement = opened(folder, providers=(Provider(name),)).placement
    assert (placement.accelerator, placement.instead_of) == ("CPU", name[: -len("ExecutionProvider")])
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert reason in said
    with pytest.raises(CannotLoad, match=reason):
        opened(folder, providers=(Provider(name),), accelerator_required=True)


@pytest.mark.parametrize("batch", ["n", 1])
def test_an_output_of_the_size_of_what_was_found_is_open_whatever_one_run_finds(
    opened: Open, saved: Callable[..., Path], batch: object
) -> None:
    # One is found in zeros, as in many detectors, and another number in other pictures.
    weights = [numpy_helper.from_array(np.array([[1.0, 0, 0, 0]], np.float32), "w")]
    nodes = [
        helper.make_node("Add", ["x", "w"], ["sum"]),
        helper.make_node("NonZero", ["sum"], ["places"]),
        helper.make_node("Transpose", ["places"], ["found"]),
    ]
    outputs = [value("found", ["found", 2], TensorProto.INT64)]
    model = opened(saved(nodes, [value("x", [batch, 4])], outputs, weights)).model
    assert model.outputs[0].is_open == (batch == 1)
    assert len(model.run([np.ones((1, 4), np.float32)])[0]) == 4


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("zipmap", r"output 'probabilities' is a list of dictionaries.*options=\{'zipmap': False\}"),
        ("texts", r"output 'probabilities' holds texts, not numbers; export the model with the numbers of its classes"),
        ("list", r"output 'probabilities' is seq\(tensor\(float\)\), not a tensor; export the model with tensors only"),
    ],
)
@pytest.mark.parametrize("batch", [1, None, "n"])
def test_outputs_that_are_no_tensors_of_numbers_are_refused_with_how_to_export(
    opened: Open, tmp_path: Path, kind: str, message: str, batch: object
) -> None:
    labels, domain = ["cat", "dog"], "ai.onnx.ml"
    if kind == "zipmap":
        node = helper.make_node("ZipMap", ["x"], ["probabilities"], domain=domain, classlabels_int64s=[0, 1])
        key = onnx.TypeProto()
        key.sequence_type.elem_type.map_type.key_type = TensorProto.INT64
        key.sequence_type.elem_type.map_type.value_type.CopyFrom(helper.make_tensor_type_proto(FLOAT, []))
        nodes, output = [node], onnx.ValueInfoProto(name="probabilities", type=key)
    elif kind == "texts":
        encoder = helper.make_node(
            "LabelEncoder", ["best"], ["probabilities"], domain=domain, keys_int64s=[0, 1], values_strings=labels
        )
        nodes = [helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0), encoder]
        output = value("probabilities", [batch], TensorProto.STRING)
    else:
        nodes = [helper.make_node("SequenceConstruct", ["x", "x"], ["probabilities"])]
        output = helper.make_tensor_sequence_value_info("probabilities", FLOAT, None)
    graph = helper.make_graph(nodes, "net", [value("x", [batch, 2])], [output])
    imports = [helper.make_opsetid("", 13), helper.make_opsetid(domain, 2)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path / "net.onnx")
    with pytest.raises(CannotLoad, match=message):
        opened(tmp_path)
