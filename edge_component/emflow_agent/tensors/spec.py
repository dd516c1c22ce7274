"""Specifications of the inputs and outputs of a model, and checks of what a client sends against them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from emflow_agent.errors import BadRequest, CannotLoad
from emflow_proto import messages as m

if TYPE_CHECKING:
    # Not at run time: NumPy before 1.22, which board images have, cannot be asked for it.
    Array = np.ndarray[Any, np.dtype[Any]]

Buffer = Union[bytes, memoryview]
OpenShared = Callable[[m.SharedMemoryHandle, int], AbstractContextManager[memoryview]]

# The interface has no int8 and bool. They are sent unchanged as UINT8, which has the same size; the agent's own service
# (emflow_proto.models) has the true type.
WIRE_TYPES = {
    np.dtype(np.uint8): m.DataType.UINT8,
    np.dtype(np.int8): m.DataType.UINT8,
    np.dtype(np.bool_): m.DataType.UINT8,
    np.dtype(np.int16): m.DataType.INT16,
    np.dtype(np.int32): m.DataType.INT32,
    np.dtype(np.int64): m.DataType.INT64,
    np.dtype(np.float16): m.DataType.FLOAT16,
    np.dtype(np.float32): m.DataType.FLOAT32,
    np.dtype(np.float64): m.DataType.FLOAT64,
}


# The limit of NumPy before 2.0; readers of captured data reshape arrays to these shapes.
MAX_DIMENSIONS = 32


NOT_QUANTIZED = (0.0, 0)
"""Scale and zero point of a tensor without quantisation, or with one that the runtime does not tell."""

OPEN = -1
"""A size of an output that depends on what the model found; told to clients as it is."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model. shape: `OPEN` is a size that only each answer has. The real value of an element
    is scale * (element - zero_point); scale 0: it is not quantised, or the runtime does not tell."""

    name: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0

    @property
    def data_type(self) -> m.DataType:
        return WIRE_TYPES[self.dtype]

    @property
    def is_open(self) -> bool:
        """Whether its size is another one in each answer; `nbytes` means nothing then."""
        return OPEN in self.shape

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def metadata(self) -> m.TensorMetadata:
        return m.TensorMetadata(name=self.name, data_type=self.data_type, shape=self.shape)

    def __str__(self) -> str:
        return f"{_text(self.name)} ({self.data_type.name} {list(self.shape)})"


def make_spec(
    name: bytes, dtype: type, shape: Sequence[int], quantization: tuple[float, int] = NOT_QUANTIZED
) -> TensorSpec:
    """A TensorSpec from what a runtime reports. quantization: scale and zero point.

    Raises:
        CannotLoad: the interface does not support the element type.
    """
    try:
        kind = np.dtype(dtype)
        WIRE_TYPES[kind]
    except (TypeError, KeyError):
        kind_name = getattr(dtype, "__name__", dtype)
        problem = f"tensor {_text(name)} has elements of type {kind_name}, which the interface does not support"
        raise CannotLoad(problem) from None
    scale, zero_point = quantization
    return TensorSpec(name, kind, tuple(int(size) for size in shape), float(scale), int(zero_point))


def inputs_in_order(specs: Sequence[TensorSpec], sent: Sequence[m.Tensor]) -> list[m.Tensor]:
    """The tensors of a request in the order of the model's inputs.

    The names may be missing when none is given and there are as many tensors as inputs: then they are in order.

    Raises:
        BadRequest: a name is unknown, sent twice, or missing.
    """
    if len(sent) == len(specs) and not any(tensor.tensor_metadata.name for tensor in sent):
        return list(sent)
    by_name: dict[bytes, m.Tensor] = {}
    for tensor in sent:
        name = tensor.tensor_metadata.name or (specs[0].name if len(specs) == 1 else b"")
        if not any(name == spec.name for spec in specs):
            description = f"an input named {_text(name)}" if name else "an unnamed input"
            raise BadRequest(f"the model does not have {description}; it takes {_listed(specs)}")
        if name in by_name:
            raise BadRequest(f"input {_text(name)} was sent twice")
        by_name[name] = tensor
    missing = [spec for spec in specs if spec.name not in by_name]
    if missing:
        raise BadRequest(f"not sent: {_listed(missing)}")
    return [by_name[spec.name] for spec in specs]


def open_data(spec: TensorSpec, tensor: m.Tensor, open_shared: OpenShared) -> AbstractContextManager[Buffer]:
    """The bytes of a tensor, from the message or shared memory; valid inside the `with`.

    open_shared: takes a handle and the number of bytes.
    """
    if tensor.WhichOneof("data") == "shared_memory_handle":
        # Clients that never set the size send 0.
        check_size(spec, tensor, tensor.shared_memory_handle.size or spec.nbytes)
        return open_shared(tensor.shared_memory_handle, spec.nbytes)
    return nullcontext(tensor.byte_data)


def input_array(spec: TensorSpec, tensor: m.Tensor, data: Buffer) -> Array:
    """The bytes as an input array of the model, without a copy.

    The type and shape that the client sends are ignored: existing clients label uint8 data as FLOAT32, and the
    original agent accepted it. Only the number of bytes must match.

    Raises:
        BadRequest: the number of bytes does not match.
    """
    check_size(spec, tensor, len(data))
    return np.frombuffer(data, dtype=spec.dtype).reshape(spec.shape)


def check_size(spec: TensorSpec, tensor: m.Tensor, size: int) -> None:
    """Check the number of bytes of an input.

    Raises:
        BadRequest: the message gives both sizes, and the type and shape that the client sent.
    """
    if size != spec.nbytes:
        metadata = tensor.tensor_metadata
        description = (
            f", sent as {type_name(metadata.data_type)} {shape_text(metadata.shape)}" if metadata.shape else ""
        )
        raise BadRequest(f"input {spec} takes {spec.nbytes} bytes, not {size}{description}")


def shape_text(shape: Sequence[int]) -> str:
    """A shape from a request for a message; a request can hold millions of sizes."""
    return str(list(shape)) if len(shape) <= MAX_DIMENSIONS else f"of {len(shape)} dimensions"


def type_name(number: int) -> str:
    """The name of a data type from a request; proto3 allows unknown numbers too."""
    try:
        return m.DataType(number).name
    except ValueError:
        return f"type {number}"


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, specs))


def _text(name: bytes) -> str:
    text = name.decode("utf-8", "backslashreplace")
    return f"'{text if len(text) <= 100 else text[:100] + '…'}'"
