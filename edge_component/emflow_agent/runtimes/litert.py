"""TensorFlow Lite models, run by LiteRT; on boards whose image has the older package, by tflite_runtime."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emflow_agent.problems import CannotLoad, CannotRun
from emflow_agent.tensors import TensorSpec, spec

if TYPE_CHECKING:
    from emflow_agent.tensors import Array

NAME = "LiteRT"
SUFFIX = ".tflite"

# The same Interpreter under two names: upstream's, and the one in NXP's board images.
_PACKAGES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


def available() -> str:
    """Empty when one of the packages is there; otherwise what to install."""
    try:
        _interpreter_class()
    except ImportError as error:
        return f"{error}; install ai-edge-litert (pip install 'emflow[agent]') or the board's tflite_runtime"
    return ""


def open_model(content: bytes, threads: int) -> LitertModel:
    """Make the bytes of a .tflite file ready to run.

    Raises:
        CannotLoad: they are no TensorFlow Lite model, or one with operators or tensors that cannot be run here.
    """
    interpreter_class = _interpreter_class()
    try:
        interpreter = interpreter_class(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise CannotLoad(_one_line(error)) from None
    return LitertModel(interpreter)


class LitertModel:
    """An interpreter, its inputs and its outputs."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = tuple(map(_spec, inputs))
        self.outputs = tuple(map(_spec, outputs))
        self._input_indices = [int(tensor["index"]) for tensor in inputs]
        self._output_indices = [int(tensor["index"]) for tensor in outputs]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        interpreter = self._interpreter
        try:
            for index, array in zip(self._input_indices, arrays):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in self._output_indices]
        except (ValueError, RuntimeError) as error:
            raise CannotRun(_one_line(error)) from None


def _interpreter_class() -> Any:
    reasons = []
    for package in _PACKAGES:
        try:
            return importlib.import_module(package).Interpreter
        except ImportError as error:  # noqa: PERF203
            # Also when the package is there and a library it needs is not: that is what a person has to know.
            reasons.append(str(error))
    raise ImportError("; ".join(reasons))


def _spec(tensor: Mapping[str, Any]) -> TensorSpec:
    return spec(tensor["name"].encode(), tensor["dtype"], tensor["shape"])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
