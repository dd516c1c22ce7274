"""Small models whose input and output are int8, of different kinds."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edge.telling_models import save

SIDE, CLASSES = 4, 10
INPUTS = SIDE * SIDE * 3


def weights() -> np.ndarray:
    """float32 [INPUTS, CLASSES]."""
    return np.random.default_rng(7).normal(0, 0.03, (INPUTS, CLASSES)).astype(np.float32)


def write_signed_model(folder: Path, scale: float = 1.0, zero_point: int = -3) -> None:
    """An ONNX model that takes int8 [1, 4, 4, 3] and gives int8 [1, 10].

    scale, zero_point: of the output.
    """
    folder.mkdir(exist_ok=True)
    constants: dict[str, np.ndarray] = {
        "x_scale": np.array(1.0, np.float32),
        "x_zero": np.array(-128, np.int8),
        "y_scale": np.array(scale, np.float32),
        "y_zero": np.array(zero_point, np.int8),
        "w": weights(),
        "shape": np.array([1, INPUTS], np.int64),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["real"]),
        helper.make_node("Reshape", ["real", "shape"], ["row"]),
        helper.make_node("MatMul", ["row", "w"], ["sums"]),
        helper.make_node("QuantizeLinear", ["sums", "y_scale", "y_zero"], ["y"]),
    ]
    takes = helper.make_tensor_value_info("x", TensorProto.INT8, [1, SIDE, SIDE, 3])
    gives = helper.make_tensor_value_info("y", TensorProto.INT8, [1, CLASSES])
    save(folder, nodes, takes, gives, [numpy_helper.from_array(value, name) for name, value in constants.items()])


def write_compiled_model(folder: Path, library: Path) -> None:
    """A model as Neo leaves it, which takes int8 [1, 4, 4, 3] and gives int8 [1, 10]; no file says so.

    library: built from tests/agent/runtimes/native/dlr_int8.c.
    """
    folder.mkdir(exist_ok=True)
    shutil.copy(library, folder / "libdlr.so")
    (folder / "compiled.params").write_bytes(struct.pack("<ii", SIDE, CLASSES) + weights().tobytes())
