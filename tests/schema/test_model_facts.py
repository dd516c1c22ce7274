"""What the files of models say, of all formats: as their own libraries read them, and without a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from emflow_schema.model_facts import file_identity, model_file
from emflow_schema.model_reader import model_facts
from emflow_schema.onnx import read

MODELS = Path(__file__).parents[2] / "workflows" / "models"
FLOAT = TensorProto.FLOAT


def value(name: str, shape: list[Any], kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def net(*nodes: Any, outputs: list[Any] | None = None, inputs: list[Any] | None = None) -> bytes:
    weights = [numpy_helper.from_array(np.ones((4, 4), np.float32), "w"), numpy_helper.from_array(np.zeros(4), "bias")]
    graph = helper.make_graph(
        nodes, "net", inputs or [value("x", [1, 4])], outputs or [value("y", [1, 4])], initializer=weights
    )
    content: bytes = helper.make_model(graph).SerializeToString()
    return content


def node(kind: str, *names: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, list(names), [output], **attributes)


LAYER = node("Gemm", "x", "w", output="a")


@pytest.mark.parametrize(
    ("nodes", "values"),
    [
        ([LAYER, node("Softmax", "a")], "confidences"),
        ([LAYER, node("Sigmoid", "a")], "confidences"),
        ([LAYER, node("Softmax", "a", output="b"), node("Reshape", "b", "shape")], "confidences"),
        ([LAYER, node("Sigmoid", "a", output="b"), node("Concat", "b", "b", axis=0)], "confidences"),
        ([node("Gemm", "x", "w")], "raw"),
        ([LAYER, node("Flatten", "a")], "raw"),
        ([node("MatMul", "x", "w", output="a"), node("Add", "a", "bias")], "raw"),
        ([node("MatMul", "x", "w", output="a"), node("Add", "bias", "a")], "raw"),
        ([LAYER, node("LogSoftmax", "a")], "raw"),
        # Neither can be told: a softmax in pieces, and boxes beside scores.
        ([node("Exp", "x", output="a"), node("Div", "a", "s")], ""),
        ([LAYER, node("Sigmoid", "a", output="b"), node("Concat", "a", "b", axis=0)], ""),
        ([node("Mul", "x", "w", output="a"), node("Add", "a", "bias")], ""),
        ([LAYER, node("Sigmoid", "a", output="b"), node("Add", "b", "bias")], ""),
        ([node("Identity", "x")], ""),
        # Not a graph that any runtime takes, and no endless walk.
        ([node("Identity", "y")], ""),
    ],
)
def test_what_makes_an_output_says_whether_it_is_confidences(nodes: list[Any], values: str) -> None:
    facts = read(net(*nodes))
    assert facts.outputs[0].values == values
    assert facts.confidences == (values == "confidences")


def test_names_types_and_open_sizes_are_read_as_onnx_reads_them() -> None:
    inputs = [value("x", ["batch", 3, 64, 64], TensorProto.FLOAT16), value("w", [4, 4])]
    outputs = [value("boxes", ["n", 4]), value("labels", ["n"], TensorProto.INT64), value("one", [])]
    facts = read(net(node("Identity", "x"), inputs=inputs, outputs=outputs))
    # Weights may stand among the inputs.
    assert [(one.name, one.dtype, one.shape) for one in facts.inputs] == [("x", "float16", (-1, 3, 64, 64))]
    assert [(one.name, one.dtype, one.shape) for one in facts.outputs] == [
        ("boxes", "float32", (-1, 4)),
        ("labels", "int64", (-1,)),
        ("one", "float32", ()),
    ]


def test_the_shared_models_say_what_their_libraries_say(shared_data: Path) -> None:
    for path in (shared_data / "models").glob("*.onnx"):
        facts = read(path.read_bytes())
        graph = onnx.load(path).graph
        assert [one.name for one in facts.outputs] == [one.name for one in graph.output]
        assert facts.outputs[0].values == "raw"


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_file_is_no_model_but_no_crash(part: float, seed: int, tmp_path: Path) -> None:
    content = bytearray(net(LAYER, node("Softmax", "a")))
    random = np.random.default_rng(seed)
    for at in random.integers(0, len(content), 10):
        content[at] = int(random.integers(0, 256))
    (tmp_path / "net.onnx").write_bytes(content[: int(len(content) * part)])
    model_facts(tmp_path)


def test_facts_describe_only_a_model_with_the_same_shapes() -> None:
    facts = read(net(LAYER, node("Softmax", "a"), outputs=[value("y", ["n", 4])]))
    assert facts.describes([(1, 4)], [(1, 4)])
    assert facts.describes([(1, 4)], [(-1, 4)])
    assert not facts.describes([(1, 4)], [(1, 5)])
    assert not facts.describes([(1, 4)], [(1, 4), (1, 4)])
    assert not facts.describes([(1, 4)], [(4,)])


@pytest.mark.parametrize("name", ["net.onnx", "NET.ONNX"])
def test_the_model_in_a_folder_is_found_and_told_from_another_one(name: str, tmp_path: Path) -> None:
    assert (model_file(tmp_path), file_identity(tmp_path)) == (None, None)
    (tmp_path / f"._{name}").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / name).write_bytes(net(LAYER, node("Softmax", "a")))
    first = file_identity(tmp_path)
    assert model_file(tmp_path) == tmp_path / name
    assert file_identity(tmp_path) == first is not None
    (tmp_path / name).write_bytes(net(node("Gemm", "x", "w")))
    assert file_identity(tmp_path) != first


def test_a_folders_own_model_counts_and_not_that_of_a_subfolder(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for path in (tmp_path / "net.tflite", tmp_path / "old" / "net.tflite"):
        path.write_bytes((MODELS / "scenes.tflite").read_bytes())
    assert model_file(tmp_path) == tmp_path / "net.tflite"


def detector(order: tuple[int, ...]) -> bytes:
    """A .tflite with the detection operator; `order`: which of its outputs are the model's, in their order."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    graph.tensors = []
    for number in range(5):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = f"StatefulPartitionedCall:{number}".encode(), [1, 10], 0
        graph.tensors.append(tensor)
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode, code.customCode = schema.BuiltinOperator.CUSTOM, b"TFLite_Detection_PostProcess"
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1, 2, 3, 4]
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [1 + place for place in order]
    model.subgraphs, model.operatorCodes = [graph], [code]
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_the_detection_operator_of_tensorflow_lite_gives_its_outputs_their_roles(tmp_path: Path) -> None:
    # As TensorFlow 2 exports them.
    (tmp_path / "net.tflite").write_bytes(detector(order=(2, 0, 3, 1)))
    facts = model_facts(tmp_path)
    assert facts is not None
    assert [one.role for one in facts.outputs] == ["scores", "boxes", "count", "classes"]
