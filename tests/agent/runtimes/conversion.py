"""Writes the repository's scenes model as ONNX, from its .tflite: the same weights, rounded to 8 bits where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from onnx import TensorProto, helper, numpy_helper


class Conversion:
    """One network's nodes and weights; activations are NCHW in ONNX and NHWC in TensorFlow Lite."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def convert(self, op: dict[str, Any]) -> None:
        inputs, (output,) = [int(index) for index in op["inputs"]], [int(index) for index in op["outputs"]]
        name, made, first = op["op_name"], f"real{output}", f"t{inputs[0]}"
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            self._convolution(name, inputs, output, made)
        elif name == "MEAN":
            self.node("ReduceMean", [first], made, axes=[2, 3], keepdims=0)
        elif name == "FULLY_CONNECTED":
            weights, bias = (
                self.constant(inputs[1], self.real(inputs[1])),
                self.constant(inputs[2], self.real(inputs[2])),
            )
            self.node("Gemm", [first, weights, bias], made, transB=1)
        elif name == "SOFTMAX":
            self.node("Softmax", [first], made, axis=-1)
        elif name == "QUANTIZE":
            made = first
        else:
            raise NotImplementedError(name)
        self.rounded(output, made)

    def rounded(self, index: int, made: str) -> None:
        """A tensor's values as its 8 bits can have them, which is also what cuts them off (ReLU6 has no node)."""
        scale, zero = self._scales(index)
        self.node("QuantizeLinear", [made, scale, zero], f"q{index}")
        self.node("DequantizeLinear", [f"q{index}", scale, zero], f"t{index}")

    def begin(self, index: int) -> None:
        """The model's input: bytes, NHWC."""
        self.node("DequantizeLinear", ["input", *self._scales(index)], "nhwc")
        self.node("Transpose", ["nhwc"], f"t{index}", perm=[0, 3, 1, 2])

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def constant(self, index: int, value: np.ndarray, kind: str = "w") -> str:
        self.weights.append(numpy_helper.from_array(value, f"{kind}{index}"))
        return f"{kind}{index}"

    def real(self, index: int) -> np.ndarray:
        scale, zero = self._tensors[index]["quantization"]
        return ((self._interpreter.get_tensor(index).astype(np.float32) - zero) * scale).astype(np.float32)

    def _convolution(self, name: str, inputs: list[int], output: int, made: str) -> None:
        depthwise = name == "DEPTHWISE_CONV_2D"
        weights = self.real(inputs[1]).transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
        before, after = self._tensors[inputs[0]]["shape"], self._tensors[output]["shape"]
        stride = round(before[1] / after[1])
        self.node(
            "Conv",
            [f"t{inputs[0]}", self.constant(inputs[1], weights), self.constant(inputs[2], self.real(inputs[2]))],
            made,
            auto_pad="SAME_UPPER",
            strides=[stride, stride],
            group=weights.shape[0] if depthwise else 1,
        )

    def _scales(self, index: int) -> list[str]:
        tensor = self._tensors[index]
        scale, zero = tensor["quantization"]
        names = [f"scale{index}", f"zero{index}"]
        if not any(weight.name == names[0] for weight in self.weights):
            self.constant(index, np.array(scale, np.float32).reshape(()), "scale")
            self.constant(index, np.array(zero, tensor["dtype"]), "zero")
        return names


def scenes_as_onnx(tflite: Path) -> onnx.ModelProto:
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(tflite), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    conversion = Conversion(interpreter)
    conversion.begin(given["index"])
    for op in interpreter._get_ops_details():
        conversion.convert(op)
    conversion.node("Identity", [f"q{made['index']}"], "scores")
    graph = helper.make_graph(
        conversion.nodes,
        "scenes",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, ["batch", *map(int, given["shape"][1:])])],
        [helper.make_tensor_value_info("scores", TensorProto.UINT8, ["batch", int(made["shape"][1])])],
        conversion.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
