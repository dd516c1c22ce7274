"""What a model takes and gives, and what a client sends: tensor descriptions, and bytes checked against them."""

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
OpenShared = Callable[[m.SharedMemoryHandle], AbstractContextManager[memoryview]]

# The interface has no name for int8 and bool. Their bytes pass unchanged as UINT8, which has the same width; a
# client of such a model knows how to read them.
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


# As many as NumPy has had for most of its life; readers of captured data reshape to them.
MAX_DIMENSIONS = 32


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model, with its shape as numbers."""

    name: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def data_type(self) -> m.DataType:
        return WIRE_TYPES[self.dtype]

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def metadata(self) -> m.TensorMetadata:
        return m.TensorMetadata(name=self.name, data_type=self.data_type, shape=self.shape)

    def __str__(self) -> str:
        return f"{_text(self.name)} ({self.data_type.name} {list(self.shape)})"


def make_spec(name: bytes, dtype: type, shape: Sequence[int]) -> TensorSpec:
    """A TensorSpec of what a runtime says.

    Raises:
        CannotLoad: the interface cannot say this element type.
    """
    try:
        kind = np.dtype(dtype)
        WIRE_TYPES[kind]
    except (TypeError, KeyError):
        problem = f"tensor {_text(name)} has elements of {getattr(dtype, '__name__', dtype)}, which clients cannot send"
        raise CannotLoad(problem) from None
    return TensorSpec(name, kind, tuple(int(size) for size in shape))


def inputs_in_order(specs: Sequence[TensorSpec], sent: Sequence[m.Tensor]) -> list[m.Tensor]:
    """The tensors that a client sent, in the order of the model's inputs.

    A name may be left out, with or without the rest of the metadata, where the model has a single input.

    Raises:
        BadRequest: a name that the model does not have, one sent twice, or one that is missing.
    """
    by_name: dict[bytes, m.Tensor] = {}
    for tensor in sent:
        name = tensor.tensor_metadata.name or (specs[0].name if len(specs) == 1 else b"")
        if not any(name == known.name for known in specs):
            said = f"an input named {_text(name)}" if name else "an unnamed input"
            raise BadRequest(f"the model has no place for {said}; it takes {_listed(specs)}")
        if name in by_name:
            raise BadRequest(f"input {_text(name)} was sent twice")
        by_name[name] = tensor
    missing = [known for known in specs if known.name not in by_name]
    if missing:
        raise BadRequest(f"not sent: {_listed(missing)}")
    return [by_name[known.name] for known in specs]


def open_data(known: TensorSpec, tensor: m.Tensor, open_shared: OpenShared) -> AbstractContextManager[Buffer]:
    """The bytes of a tensor, wherever they are; valid inside the `with`."""
    if tensor.WhichOneof("data") == "shared_memory_handle":
        check_size(known, tensor, tensor.shared_memory_handle.size)
        return open_shared(tensor.shared_memory_handle)
    return nullcontext(tensor.byte_data)


def input_array(known: TensorSpec, tensor: m.Tensor, data: Buffer) -> Array:
    """The bytes as the model's input, not copied.

    Type and shape that the client claims do not count: real clients label uint8 as FLOAT32 and were always served.
    What counts is that the bytes are as many as the model needs.

    Raises:
        BadRequest: they are not.
    """
    check_size(known, tensor, len(data))
    return np.frombuffer(data, dtype=known.dtype).reshape(known.shape)


def check_size(known: TensorSpec, tensor: m.Tensor, size: int) -> None:
    """Refuse a number of bytes other than the model's own.

    Raises:
        BadRequest: with both sizes, and what the client said it was sending.
    """
    if size != known.nbytes:
        claimed = tensor.tensor_metadata
        said = f", sent as {_type_name(claimed.data_type)} {shape_text(claimed.shape)}" if claimed.shape else ""
        raise BadRequest(f"input {known} takes {known.nbytes} bytes, not {size}{said}")


def shape_text(shape: Sequence[int]) -> str:
    """A shape that a client sent, as far as it can be of help: a message has room for millions of sizes."""
    return str(list(shape)) if len(shape) <= MAX_DIMENSIONS else f"of {len(shape)} dimensions"


def _type_name(number: int) -> str:
    """The name of a data type that a client sent; an unknown number stays a number, as proto3 has it."""
    try:
        return m.DataType(number).name
    except ValueError:
        return f"type {number}"


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, specs))


def _text(name: bytes) -> str:
    text = name.decode("utf-8", "backslashreplace")
    return f"'{text if len(text) <= 100 else text[:100] + '…'}'"
