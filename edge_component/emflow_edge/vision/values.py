"""Reads the bytes of an output tensor as float values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emflow_edge.model_spec import ModelMismatch, TensorSpec
from emflow_edge.outcome import NonFiniteOutput
from emflow_schema.errors import EdgeProblem
from emflow_schema.model_facts import TensorFacts

if TYPE_CHECKING:
    # Not at run time: NumPy before 1.21, which board images have, has no NDArray.
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

# Characters of an output's name in a message.
_LONGEST_NAME = 80


class OutputReader:
    """Reads one output tensor.

    Float values are taken as they are; integers with the quantisation of the model: scale * (value - zero point). Bytes
    whose quantisation is not known (of a compiled model) become value / 255: the workshop's number, and nothing that
    was measured; `measured` is False then. Signed ones become (value + 128) / 255.

    Args:
        spec: the tensor as AWS's interface has it.
        stored: its true type and quantisation, as far as the agent or the model's file tells them; None where neither
            does.
        raw: take the bytes as they are on the wire, without type and quantisation.

    Raises:
        EdgeProblem: its type cannot be read.
    """

    def __init__(self, spec: TensorSpec, stored: TensorFacts | None, *, raw: bool = False) -> None:
        # The wire has neither a signed byte nor a bool.
        true_type = stored.dtype if stored is not None and spec.dtype == "uint8" and not raw else spec.dtype
        self._spec = spec
        # As it may stand in a log, which an agent's names do not break.
        self._shown = repr(spec.name.decode("utf-8", "replace")[:_LONGEST_NAME])
        self._dtype = np.dtype("int8" if true_type == "int8" else spec.dtype).newbyteorder("<")
        if self._dtype.kind not in "iuf":
            raise EdgeProblem(f"the model's output is {spec.dtype}, which cannot be decoded")
        self.integers = self._dtype.kind in "iu"
        self.measured = True
        self._scale, self._zero = 1.0, 0
        if self.integers and stored is not None and stored.scale and not raw:
            self._scale, self._zero = stored.scale, stored.zero_point
        elif self.integers and self._dtype.itemsize == 1 and true_type != "bool":
            self._scale, self.measured = 1.0 / 255.0, False
            self._zero = -128 if true_type == "int8" else 0

    def __call__(self, data: bytes) -> Floats:
        """float32, of the tensor's shape. `data`: its little-endian bytes.

        Raises:
            ModelMismatch: the agent sent another number of bytes than the model's output has.
            NonFiniteOutput: some of the values are not finite.
        """
        return self.finite(self.read(data))

    def finite(self, values: Floats) -> Floats:
        """The values, which are all of this output or a part of it.

        Raises:
            NonFiniteOutput: some of them are not finite.
        """
        wrong = values.size - int(np.isfinite(values).sum())
        if wrong:
            raise NonFiniteOutput(
                f"{wrong} of the {values.size} values in the model's output {self._shown} are NaN or infinite"
            )
        return values

    def read(self, data: bytes) -> Floats:
        """As `__call__`, for an output of which only a part means something: values may be NaN or infinite.

        Raises:
            ModelMismatch: the agent sent another number of bytes than the model's output has.
        """
        size, rest = divmod(len(data), self._dtype.itemsize)
        if rest or (not self._spec.is_open and size != self._spec.size):
            wanted = "" if self._spec.is_open else f"{self._spec.size * self._dtype.itemsize} "
            raise ModelMismatch(f"the agent sent {len(data)} bytes for an output of {wanted}({self._spec})")
        shape = self._spec.shape_of(size)
        # What is too large for float32 becomes infinite, which `finite` looks for.
        with np.errstate(over="ignore", invalid="ignore"):
            values = (np.frombuffer(data, self._dtype).astype(np.float32) - self._zero) * np.float32(self._scale)
        return values.reshape(shape)


def softmax(values: Floats) -> Floats:
    """exp(v) / sum(exp(v)) along the last axis, without overflow."""
    with np.errstate(over="ignore"):
        # What is too far below the largest becomes -infinity, and its power 0.
        powers: Floats = np.exp(values - values.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-v)), without overflow."""
    halves: Floats = np.tanh(values / 2)
    halves += 1
    halves /= 2
    return halves
